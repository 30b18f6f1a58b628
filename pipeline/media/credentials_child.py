"""The process that reads Content Credentials: one file, with the C2PA project's library, under limits."""

from __future__ import annotations

import json
import queue
from dataclasses import asdict
from typing import Any

from data.declared import Action, ClaimManifest, Credentials, CredentialStatus
from pipeline.media.process import answer_pipe, limit_memory, take_lines

_MOST = 100
_LENGTH = 300
"""Most entries of a list, and characters of a text: a hostile file could hold millions."""

_OFFLINE = {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}

_STATUS: dict[str, CredentialStatus] = {"Trusted": "valid", "Valid": "untrusted", "Invalid": "invalid"}


def main() -> None:
    """Read the file that the line on standard input names, and answer with a line of JSON."""
    pipe = answer_pipe()
    import c2pa  # noqa: F401 - loaded before memory is limited

    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    take_lines(tasks.put)
    task = json.loads(tasks.get())
    limit_memory(task["memory_mb"])
    answer = json.dumps(asdict(_read(task))).encode("ascii") + b"\n"
    while answer:
        answer = answer[pipe.write(answer) :]


def _read(task: dict[str, Any]) -> Credentials:
    import c2pa

    settings: dict[str, Any] = {"verify": _OFFLINE}
    if task["trust"] is not None:
        settings["trust"] = {"user_anchors": task["trust"]}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            open(task["path"], "rb") as file,
            c2pa.Reader(task["format"], file, context=context) as reader,
        ):
            return condensed(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials("none")
    except c2pa.C2paError.RemoteManifest as error:
        where = f"they lie elsewhere and are not fetched ({_text(error)})"
        return Credentials("not_read", where)
    except c2pa.C2paError as error:
        return Credentials("invalid", f"they cannot be read ({_text(error)})")


def condensed(store: dict[str, Any], state: str | None) -> Credentials:
    """The parts of a manifest store that a report shows; `state` is the library's judgement."""
    active, manifests = store.get("active_manifest"), store.get("manifests", {})
    # The manifest of this file first, then those of what it was made of.
    order = sorted(manifests, key=lambda label: label != active)
    return Credentials(
        _STATUS.get(state or "", "invalid"),
        "",
        tuple(_manifest(label, manifests[label]) for label in order[:_MOST]),
        tuple(dict.fromkeys(_failures(store)))[:_MOST],
    )


def _manifest(label: str, values: dict[str, Any]) -> ClaimManifest:
    made = [_named(each) for each in _list(values.get("claim_generator_info"))]
    signed = values.get("signature_info") or {}
    actions = [
        _action(action)
        for assertion in _list(values.get("assertions"))
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in _list((assertion.get("data") or {}).get("actions"))
    ]
    ingredients = [
        _text(each.get("title") or each.get("instance_id")) for each in _list(values.get("ingredients"))
    ]
    return ClaimManifest(
        _text(label),
        _text(values.get("title")),
        ", ".join(filter(None, made)) or _text(values.get("claim_generator")),
        _text(signed.get("common_name")),
        _text(signed.get("issuer")),
        _text(signed.get("time")),
        tuple(actions[:_MOST]),
        tuple(ingredients[:_MOST]),
    )


def _action(values: dict[str, Any]) -> Action:
    agent = values.get("softwareAgent")
    return Action(
        _text(values.get("action")).removeprefix("c2pa."),
        _text(values.get("digitalSourceType")).rstrip("/").rpartition("/")[2],
        _named(agent) if isinstance(agent, dict) else _text(agent),
        _text(values.get("when")),
    )


def _failures(store: dict[str, Any]) -> list[str]:
    results = store.get("validation_results") or {}
    failures = _list((results.get("activeManifest") or {}).get("failure"))
    for delta in _list(results.get("ingredientDeltas")):
        failures += _list((delta.get("validationDeltas") or {}).get("failure"))
    if not failures:
        failures = _list(store.get("validation_status"))
    return [_text(f"{each.get('code')}: {each.get('explanation') or 'failed'}") for each in failures]


def _named(values: dict[str, Any]) -> str:
    return _text(f"{values.get('name') or ''} {values.get('version') or ''}").strip()


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return str(value if value is not None else "")[:_LENGTH]
