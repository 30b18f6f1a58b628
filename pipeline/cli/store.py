"""`pipeline store`: what a feature store holds, whether it is intact, and how it is kept small."""

from __future__ import annotations

from typing import Annotated

import typer

from data.text import printable
from pipeline.cli.options import EXIT_PARTIAL, Debug, Quiet, Store

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Inspect and maintain a feature store.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def stat(store: Store, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show what a store holds: entries, hours, packs, failures and leftovers.

    \b
    Example:
      pipeline store stat --store features/
    """
    import json as encoder

    from data.store.upkeep import contents_of, existing_store
    from pipeline.progress import ProgressBar

    feature_store = existing_store(store)
    with ProgressBar(quiet=quiet) as bar:
        contents = contents_of(feature_store, bar)
    if json:
        print(encoder.dumps(contents.to_json(), indent=2))
        return
    print(
        f"{printable(contents.root)}: {sum(held.loose + held.packed for held in contents.extractors):,} entries"
    )
    for held in contents.extractors:
        length = (
            f"{held.steps:,} steps, {held.hours:,.1f} h"
            if held.hours is not None
            else "too many to look into"
        )
        print(
            f"  {held.extractor}: {held.loose:,} loose, {held.packed:,} packed, {_bytes(held.size)}, {length}"
        )
    print(f"  packs: {contents.packs:,}, {_bytes(contents.pack_size)}")
    files = ", ".join(f"{count:,} {status}" for status, count in sorted(contents.files.items()))
    print(f"  files in the ledger: {files or 'none'}; {contents.media_hours:,.1f} h of media extracted")
    for kind, count in sorted(contents.failures.items(), key=lambda item: -item[1]):
        print(f"  failed with {printable(kind)}: {count:,}")
    print(f"  unfinished files: {contents.unfinished:,}, of dead processes {contents.abandoned:,}")
    print(f"  claims: {contents.claims:,}, of dead processes {contents.dead_claims:,}")


@app.command()
def verify(
    store: Store,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove damaged entries; the next extraction makes them again.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare every entry with its checksum, loose and packed. Exit code 4 when something is damaged.

    \b
    Example:
      pipeline store verify --store features/ --remove
    """
    import json as encoder

    from data.store.upkeep import existing_store, find_damage, remove_damaged
    from pipeline.progress import ProgressBar

    feature_store = existing_store(store)
    with ProgressBar(quiet=quiet) as bar:
        damages = list(find_damage(feature_store, bar))
    removed = remove_damaged(feature_store, damages) if remove else 0
    if json:
        rows = [
            {"key": each.key, "packed": each.packed, "path": str(each.error.path), "what": each.error.what}
            for each in damages
        ]
        print(encoder.dumps({"damaged": rows, "removed": removed}, indent=2))
    else:
        for each in damages:
            name = f" (entry {'/'.join(each.key)})" if each.key is not None and each.packed else ""
            print(f"damaged: {printable(str(each.error.path))}{name}: {printable(each.error.what)}")
        print(f"{len(damages):,} damaged, {removed:,} removed" if damages else "everything is intact")
    raise typer.Exit(EXIT_PARTIAL if damages else 0)


@app.command()
def gc(
    store: Store,
    extractor: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Also remove the entries of this extractor.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and exit.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Remove leftovers of dead processes, duplicates and unindexed packs; running processes are not disturbed.

    \b
    Examples:
      pipeline store gc --store features/ --dry-run
      pipeline store gc --store features/ --extractor 2f61c0d8a5b34e07a9d1c2b3e4f50617
    """
    from data.store.upkeep import collect, existing_store
    from pipeline.progress import ProgressBar

    feature_store = existing_store(store)
    with ProgressBar(quiet=quiet) as bar:
        removed = list(collect(feature_store, dry_run, extractor, bar))
    for each in removed:
        if each.count:
            print(f"{each.what}: {each.count:,}" + (f", {_bytes(each.size)}" if each.size else ""))
    if not any(each.count for each in removed):
        print("nothing to remove")
    elif dry_run:
        print("nothing was changed (--dry-run)")


@app.command()
def pack(
    store: Store,
    shard_mb: Annotated[int, typer.Option(min=1, help="Approximate size of a pack, in MB.")] = 1000,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Pack loose entries into tar files that training reads directly. Exit code 4 when some are damaged.

    \b
    Example:
      pipeline store pack --store features/
    """
    from data.store.packing import pack as roll
    from data.store.upkeep import existing_store
    from pipeline.progress import ProgressBar

    feature_store, done = existing_store(store), 0
    with ProgressBar(quiet=quiet) as bar:

        def advance(more: int) -> None:
            nonlocal done
            done += more
            bar("pack", done)

        outcome = roll(feature_store, shard_mb * 1_000_000, advance)
    for error in outcome.damaged:
        print(f"damaged, left as it is: {printable(str(error.path))}: {printable(error.what)}")
    print(f"{outcome.entries:,} entries, {_bytes(outcome.size)}, are in {outcome.packs:,} new pack(s)")
    raise typer.Exit(EXIT_PARTIAL if outcome.damaged else 0)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
