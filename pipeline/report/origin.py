"""What a file says of its own origin, in words; nothing of it bears on the verdict."""

from __future__ import annotations

from data.declared import Action, ClaimManifest, Credentials, Declared
from data.text import printable

STATUS_WORDS = {
    "none": "none",
    "valid": "valid: signed by a trusted signer, and unaltered since",
    "untrusted": "untrusted signer: the file is unaltered since it was signed, but nobody vouches for the signer",
    "invalid": "invalid: a check failed, so that they prove nothing",
    "not_read": "not read",
}
"""What each status of Content Credentials means, in text for users."""

DECLARED_NOTE = (
    "What a file says of itself can be left out, and outside of signed credentials be made up. "
    "It is shown as it is and does not change the verdict."
)


def credential_line(declared: Declared | None) -> str:
    """Status, signer and declarations in one line; "" where there are no credentials."""
    credentials = declared.credentials if declared is not None else Credentials("none")
    if credentials.status == "none" or (
        credentials.status == "not_read" and not credentials.reason.startswith("the file has")
    ):
        return ""
    parts = [f"Content Credentials: {credentials.status.replace('_', ' ')}"]
    if credentials.reason:
        parts.append(printable(credentials.reason))
    if credentials.manifests:
        parts.append(f"signed by {signer(credentials.manifests[0])}")
    if credentials.declares:
        parts.append(f"declares: {', '.join(credentials.declares)}")
    return "; ".join(parts)


def signer(manifest: ClaimManifest) -> str:
    """Name and organization of a signer, `printable`."""
    named = [text for text in (manifest.signer, manifest.issuer) if text]
    return printable(", ".join(named) or "a signer without a name")


def manifest_rows(manifest: ClaimManifest) -> list[tuple[str, str]]:
    """Name and value of everything that a manifest says, `printable`; what it does not tell is left out."""
    rows = [
        ("Signed by", signer(manifest)),
        ("Signed at", manifest.signed_at),
        ("Program", manifest.generator),
        ("Title", manifest.title),
        ("Declares", ", ".join(manifest.declares)),
        *((f"Action {number}", _action(action)) for number, action in enumerate(manifest.actions, 1)),
        ("Made of", ", ".join(manifest.ingredients)),
        ("Manifest", manifest.label),
    ]
    return [(name, printable(value)) for name, value in rows if value]


def _action(action: Action) -> str:
    more = [text for text in (action.source, action.agent, action.when) if text]
    return action.name + (f" ({', '.join(more)})" if more else "")
