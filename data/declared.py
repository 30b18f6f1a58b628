"""What a file says of its own origin: Content Credentials, and what its container notes. Facts, never a judgement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CredentialStatus = Literal["none", "valid", "untrusted", "invalid", "not_read"]
"""Content Credentials of a file: there are none; signed by a trusted signer; by one that is not on the list of trusted
ones; broken or altered since; or there may be some that were not read."""

GENERATED = frozenset(("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"))
"""Digital source types of AI-generated content (https://cv.iptc.org/newscodes/digitalsourcetype)."""

UNCHANGED = frozenset(("created", "opened", "published", "transcoded", "repackaged"))
"""Actions that leave the content as it is; any other one edits it (C2PA specification 2.2, 18.15.4)."""


@dataclass(frozen=True)
class Action:
    """Something that was done, as declared: its name without "c2pa.", and what with; empty where it is not told.

    `source` is the last word of the digital source type, such as "trainedAlgorithmicMedia".
    """

    name: str
    source: str = ""
    agent: str = ""
    when: str = ""


@dataclass(frozen=True)
class ClaimManifest:
    """One C2PA manifest: who signed it, with which program it was made, and what it declares.

    `signer` is the common name of the certificate, `issuer` its organization, `signed_at` the time of a time stamp;
    empty where it is not told. `ingredients` are titles of what the content was made of.
    """

    label: str
    title: str = ""
    generator: str = ""
    signer: str = ""
    issuer: str = ""
    signed_at: str = ""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[str, ...] = ()

    @property
    def declares(self) -> tuple[str, ...]:
        """What it declares of the content, in words: "AI-generated", "edited"."""
        generated = any(action.source in GENERATED for action in self.actions)
        edited = any(action.name not in UNCHANGED for action in self.actions)
        return ("AI-generated",) * generated + ("edited",) * edited


@dataclass(frozen=True)
class Credentials:
    """The Content Credentials of a file; `manifests` are all of the chain, the one of this file first.

    `reason` is a clause that says why they were not read, or are broken as a whole. `failures` are the checks that
    failed, as the library names them: "code: explanation".
    """

    status: CredentialStatus
    reason: str = ""
    manifests: tuple[ClaimManifest, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def declares(self) -> tuple[str, ...]:
        """What any manifest of the chain declares, in words."""
        return tuple(dict.fromkeys(word for manifest in self.manifests for word in manifest.declares))


@dataclass(frozen=True)
class Tag:
    """A note in the file, of the container as a whole ("file") or of a track ("track 0")."""

    where: str
    name: str
    value: str


@dataclass(frozen=True)
class Declared:
    """All that a file says of its origin; `mismatches` are sentences about what does not fit together in it."""

    credentials: Credentials
    tags: tuple[Tag, ...] = ()
    mismatches: tuple[str, ...] = ()
