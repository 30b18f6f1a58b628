"""Files with Content Credentials, signed with certificates that are made here and forgotten afterwards."""

from __future__ import annotations

import datetime
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test newsroom")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common), organization])


def _certificate(common: str, key: Any, authority: Any, is_authority: bool) -> x509.Certificate:
    now, yes = datetime.datetime.now(datetime.UTC), is_authority
    builder = (
        x509.CertificateBuilder(_name("Test root"), _name(common), key.public_key(), 7 + yes)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(yes, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
        .add_extension(x509.KeyUsage(not yes, False, False, False, False, yes, yes, False, False), True)
    )
    if not yes:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, True)
    return builder.sign(authority, hashes.SHA256())


@dataclass(frozen=True)
class Newsroom:
    """A signer, and the certificate of the authority that vouches for it, in PEM."""

    authority: bytes
    _chain: bytes
    _key: bytes

    @classmethod
    def new(cls) -> Newsroom:
        """One with fresh keys."""
        root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        pem = serialization.Encoding.PEM
        authority = _certificate("Test root", root, root, True).public_bytes(pem)
        chain = _certificate("Test signer", own, root, False).public_bytes(pem) + authority
        plain = serialization.NoEncryption()
        return cls(authority, chain, own.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))

    def sign(self, source: Path, target: Path, *, edit: bool = False, kind: str = "video/mp4") -> Path:
        """`source` with a manifest: of an AI-generated clip, or with `edit` of one whose colours were changed."""
        actions: list[dict[str, Any]] = [{"action": "c2pa.color_adjustments"}]
        if not edit:
            made = {"action": "c2pa.created", "digitalSourceType": GENERATED}
            actions = [{**made, "softwareAgent": {"name": "Generator", "version": "4"}}]
        builder = c2pa.Builder(
            {
                "claim_generator_info": [
                    {"name": "Second editor" if edit else "Test editor", "version": "1.2"}
                ],
                "title": target.name,
                "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
            }
        )
        if edit:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", self._chain, self._key, None))
        signed = io.BytesIO()
        with open(source, "rb") as file:
            builder.sign(signer, kind, file, signed)
        target.write_bytes(signed.getvalue())
        return target


def altered(source: Path, target: Path, at: int, new: bytes) -> Path:
    """A copy of `source` whose bytes from `at` on are `new`."""
    data = bytearray(source.read_bytes())
    assert data[at : at + len(new)] != new
    data[at : at + len(new)] = new
    target.write_bytes(data)
    return target
