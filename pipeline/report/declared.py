"""What a file says of its own origin in the JSON document; nothing of it bears on the verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data.declared import Action, ClaimManifest, Credentials, Declared, Tag
from pipeline.report.parts import Part


class ActionPart(Part):
    """Something that was done to the content, as declared."""

    name: str = Field(description="Name in the C2PA specification without its prefix, such as edited.")
    source: str = Field(
        description="Digital source type of the IPTC, such as trainedAlgorithmicMedia; may be empty."
    )
    agent: str = Field(description="What it was done with; may be empty.")
    when: str = Field(description="When, as declared; may be empty.")


class ClaimManifestPart(Part):
    """One C2PA manifest; what is not told is an empty text."""

    label: str
    title: str
    generator: str = Field(description="The program that wrote it.")
    signer: str = Field(description="Common name of the certificate that signed it.")
    issuer: str = Field(description="Organization of the certificate.")
    signed_at: str = Field(description="Time of the time stamp.")
    actions: list[ActionPart]
    ingredients: list[str] = Field(description="Titles of what the content was made of.")

    def manifest(self) -> ClaimManifest:
        """The manifest as the report has it."""
        return self.of(
            ClaimManifest,
            actions=tuple(each.of(Action) for each in self.actions),
            ingredients=tuple(self.ingredients),
        )


class CredentialsPart(Part):
    """Content Credentials (C2PA) of the file."""

    status: Literal["none", "valid", "untrusted", "invalid", "not_read"] = Field(
        description="none; valid: of a trusted signer; untrusted: the signature fits, but its signer is not trusted; "
        "invalid: a check failed; not_read: there may be some."
    )
    reason: str = Field(description="Why they were not read, or are broken as a whole; may be empty.")
    manifests: list[ClaimManifestPart] = Field(
        description="All manifests of the chain, that of this file first."
    )
    failures: list[str] = Field(description="Checks that failed, as the library names them.")


class TagPart(Part):
    """A note in the file about how it was made."""

    where: str = Field(description='"file" or "track" and its number.')
    name: str
    value: str


class DeclaredPart(Part):
    """What the file says of its own origin: facts, which do not change the verdict."""

    credentials: CredentialsPart
    tags: list[TagPart] = Field(description="Programs, devices and times that the file names.")
    mismatches: list[str] = Field(description="What does not fit together in the file, in sentences.")

    def declared(self) -> Declared:
        """What the file says as the report has it."""
        part = self.credentials
        credentials = part.of(
            Credentials,
            manifests=tuple(each.manifest() for each in part.manifests),
            failures=tuple(part.failures),
        )
        return Declared(credentials, tuple(tag.of(Tag) for tag in self.tags), tuple(self.mismatches))
