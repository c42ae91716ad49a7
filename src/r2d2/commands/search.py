"""`r2d2 search` and `r2d2 serve`: a model in front of people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from r2d2.commands.options import (
    MODELS,
    OF_FOLDERS,
    Candidates,
    Cascade,
    Copy,
    FolderCaptions,
    FolderOut,
    FollowLinks,
    Overwrite,
    refuse_given,
)

if TYPE_CHECKING:
    from r2d2.photo_folder.settings import FolderOptions
    from r2d2.search.query import By
    from r2d2.search.searcher import Searcher

Table = Annotated[
    str | None,
    typer.Option(
        help="Search this table with an index, or this folder of pictures; the default "
        "is the emoji."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Search by this model, which made the index; a folder of pictures knows "
        f"its own. {MODELS}"
    ),
]


def search(
    context: typer.Context,
    query: str | None = typer.Argument(None, help="Look for this text, as in 生日蛋糕."),
    image: Path | None = typer.Option(None, help="Look for what is like this picture."),
    texts: bool = typer.Option(
        False, "--texts", help="Look among texts instead of images; it goes with --image."
    ),
    queries: Path | None = typer.Option(
        None,
        help="Read many queries from this file: a text a line, JSONL, or a table with a column "
        "text. It needs --out.",
    ),
    out: Path | None = typer.Option(
        None, help="Write the results of --queries to this JSONL file."
    ),
    table: Table = None,
    model: Model = None,
    top: int = typer.Option(10, "--top", "-k", min=1, help="Show this many results."),
    page: int = typer.Option(
        1, min=1, help="Show this page of results; 2 comes after the first --top results."
    ),
    where: str | None = typer.Option(
        None, help="Search the rows that meet this condition, as in \"split = 'test'\"."
    ),
    by: str | None = typer.Option(
        None,
        help="Search by vectors, by words, or by both; the default is both where the table has "
        "texts.",
    ),
    candidates: Candidates = None,
    cascade: Cascade = None,
    pre_ranking: bool = typer.Option(
        False, "--pre-ranking", help="Rank by cosine alone, without the cross encoders."
    ),
    json_: bool = typer.Option(False, "--json", help="Print JSON instead of a table."),
    overwrite: Overwrite = False,
) -> None:
    """Search images by a text, or images or texts by an image."""
    from r2d2.errors import R2D2Error
    from r2d2.models import tell_ranking
    from r2d2.outputs import a_file, check_outputs
    from r2d2.search.display import as_json, as_table, missing_level_notes
    from r2d2.search.query import SearchQuery
    from r2d2.settings import one_of

    if sum(source is not None for source in (query, image, queries)) != 1:
        raise R2D2Error("give a text, or --image FILE, or --queries FILE: one of them")
    if (queries is None) != (out is None):
        raise R2D2Error("--queries and --out belong together: give both")
    if texts and query is not None:
        raise R2D2Error("--texts goes with --image: a text is searched among images")
    if queries is not None:
        refuse_given(context, ("json_",), "is for one query: --queries writes JSONL to --out")
    else:
        refuse_given(context, ("overwrite",), "goes with --out")
    if by is not None:
        one_of("--by", by, ("both", "vectors", "words"))
    if image is not None:
        refuse_given(context, ("by",), "is for a text: an image is compared by vectors")
    again = ("candidates", "cascade")
    if by == "words":
        ranks = (*again, "pre_ranking")
        refuse_given(context, ranks, "is of the stages, and --by words has one of its own")
    if pre_ranking:
        refuse_given(context, again, "ranks again, and --pre-ranking does not: give one of them")
    if out is not None:
        outputs, read = [a_file(out, ".jsonl", ".ndjson")], [queries, table, model]
        check_outputs(outputs, inputs=read, overwrite=overwrite)
    search_query = SearchQuery(
        text=query, target="texts" if texts else "images", k=top, offset=(page - 1) * top,
        two_stage=not pre_ranking, candidates=candidates, cascade=cascade,
        where=where, by=cast("By | None", by),
    )  # fmt: skip

    def open_searcher() -> Searcher:
        searcher = _open_searcher(table, model)
        tell_ranking(searcher.model)
        if not searcher.model.has_match:
            refuse_given(context, again, "ranks again, and the model has no cross encoders")
        if searcher.second_stage_off is not None:
            reason = searcher.second_stage_off.note
            refuse_given(context, again, f"ranks again, and there is {reason}")
        return searcher

    if queries is not None and out is not None:
        from r2d2.search.batch_search import search_many

        batch = search_many(open_searcher(), queries, out, search_query, overwrite=overwrite)
        typer.echo(f"{batch.answered} queries answered, {batch.dropped.total} refused: {out}")
        for line in batch.dropped.lines():
            typer.echo(f"  {line}")
        return
    if image is not None:
        from dataclasses import replace

        from r2d2.images.decode import read_image

        search_query = replace(search_query, image=read_image(image))
    searcher = open_searcher()
    answer = searcher.answer([search_query])[0]
    if json_:
        for note in missing_level_notes(answer, search_query, searcher):
            typer.echo(note.note, err=True)
        typer.echo(as_json(answer))
    else:
        as_table(answer, search_query, searcher)


def serve(
    context: typer.Context,
    tables: list[str] | None = typer.Argument(
        None,
        metavar="TABLE|FOLDER",
        help="Serve these tables or folders of pictures, or emoji; several get a switch on the "
        "page.",
    ),
    model: Model = None,
    host: str = typer.Option(
        "127.0.0.1", help="Listen at this address; 0.0.0.0 listens to all machines."
    ),
    port: int = typer.Option(
        8000,
        min=0,
        max=65535,
        envvar="R2D2_PORT",
        help="Listen at this port; 0 takes any that is free.",
    ),
    api_key: str | None = typer.Option(
        None,
        envvar="R2D2_API_KEY",
        help="Ask every request for this key; R2D2_API_KEY is the safer way to give it.",
    ),
    allow_host: list[str] | None = typer.Option(
        None, help="Accept requests to this host name. Repeat the option for more."
    ),
    max_queue: int = typer.Option(64, min=1, help="Let this many requests wait; more get 503."),
    max_batch: int = typer.Option(16, min=1, help="Compute this many requests in one pass."),
    max_mb: float = typer.Option(10, min=0.01, help="Accept requests of up to this many MB."),
    max_megapixels: float = typer.Option(
        32, min=0.01, help="Accept pictures of up to this many megapixels."
    ),
    timeout: float = typer.Option(
        30, min=0.1, help="Answer within this many seconds, or refuse with 503."
    ),
    client_timeout: float = typer.Option(
        15,
        min=0.1,
        help="Wait this many seconds for the headers of a request, and as many for its body.",
    ),
    client_connections: int = typer.Option(
        100,
        min=1,
        help="Accept this many connections of one client; those of this machine only count "
        "together.",
    ),
    out: FolderOut = None,
    captions: FolderCaptions = None,
    follow_links: FollowLinks = None,
    copies: Copy = None,
) -> None:
    """Serve search, match and embed over HTTP, with a page to search in."""
    from r2d2.extras import require
    from r2d2.models import tell_ranking

    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require("serve", package, "the server")

    from r2d2.photo_folder.settings import is_picture_folder
    from r2d2.search.second_stage import KEPT_BYTES
    from r2d2.search.serve.config import ServeConfig
    from r2d2.search.serve.server import serve as run
    from r2d2.search.serve.tables import served_paths, table_names

    if api_key is None:
        api_key = os.environ.get("R2D2_API_KEY")  # Typer takes an empty one for none
    config = ServeConfig(
        host=host, port=port, api_key=api_key, allowed_hosts=tuple(allow_host or ()),
        max_queue=max_queue, max_batch=max_batch, max_body_bytes=int(max_mb * (1 << 20)),
        max_pixels=int(max_megapixels * 1e6), answer_timeout_s=timeout,
        client_timeout_s=client_timeout, client_connections=client_connections,
    )  # fmt: skip
    paths = served_paths(tables or [None])
    names = table_names(paths)
    if len(paths) > 1:
        refuse_given(context, ("out", "captions"), "goes with one folder, and here are several")
    folders = [path for path in paths if path is not None and is_picture_folder(path)]
    options = _folder_options(
        context, folders[0] if folders else None, model, out, captions, follow_links, copies
    )
    kept_bytes = KEPT_BYTES // len(paths)
    searchers = {
        name: _open_searcher(path, model, options, kept_bytes)
        for name, path in zip(names, paths, strict=True)
    }
    for net in {id(searcher.model): searcher.model for searcher in searchers.values()}.values():
        tell_ranking(net)
    run(
        searchers,
        config,
        lambda address: typer.echo(f"{address} is open; Ctrl-C closes it"),
    )


def index(
    context: typer.Context,
    table: str = typer.Argument(..., help="Index this table of pairs or folder of pictures."),
    model: str | None = typer.Option(None, help=f"Embed by this model. {MODELS}"),
    texts: bool = typer.Option(
        True, "--texts/--no-texts", help="Embed its texts too, for search by an image."
    ),
    ann: str | None = typer.Option(
        None, help="Build an approximate index: ivf_sq, ivf_pq, ivf_hnsw_sq or ivf_flat."
    ),
    probes: int | None = typer.Option(
        None,
        min=1,
        help="Look into this many partitions of the approximate index; it goes with --ann.",
    ),
    export: Path | None = typer.Option(None, help="Write the vectors to this Parquet file."),
    runner: str = typer.Option(
        "native", help="Run in this process (native), or over a cluster (ray)."
    ),
    workers: int | None = typer.Option(
        None,
        min=1,
        help="Use this many workers of --runner ray, a model each; the default is all of the "
        "cluster.",
    ),
    dim: int | None = typer.Option(
        None,
        min=1,
        help="Store the first numbers of a vector, this many; searches follow the index.",
    ),
    store: str | None = typer.Option(
        None, help="Store vectors as float32, or as int8 in a quarter of the space."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Make all vectors again, and replace what is at --export."
    ),
    out: FolderOut = None,
    captions: FolderCaptions = None,
    follow_links: FollowLinks = None,
    copies: Copy = None,
) -> None:
    """Embed the images and texts of a table, or the pictures of a folder.

    Only what is new is embedded, unless --overwrite is given.
    """
    from r2d2.corpus.runner import RUNNERS
    from r2d2.errors import R2D2Error
    from r2d2.index.build import build_index, count_bad
    from r2d2.index.embed import loaded
    from r2d2.index.export import export_vectors
    from r2d2.index.gallery.notes import notes_of_gallery
    from r2d2.index.gallery.table import TableGallery
    from r2d2.index.layout import INT8, STORES
    from r2d2.index.vectors.build_approximate import KINDS, build_ann
    from r2d2.models import lasting_name, tell_ranking
    from r2d2.outputs import a_file, check_outputs
    from r2d2.settings import one_of

    anew = overwrite and export is None
    options = _folder_options(context, table, model, out, captions, follow_links, copies, anew)
    if options is not None:
        refuse_given(
            context, ("texts", "runner", "workers", "dim", "store"), "goes with a pairs table"
        )
    elif model is None:
        if ann is None and export is None:
            raise R2D2Error("give --model MODEL to embed the table, or --ann, or --export")
        refuse_given(context, ("texts", "runner", "workers", "dim", "store"), "goes with --model")
        if export is None:
            refuse_given(context, ("overwrite",), "goes with --model or --export")
    if runner == "native":
        refuse_given(context, ("workers",), "goes with --runner ray")
    if ann is None:
        refuse_given(context, ("probes",), "goes with --ann")
    if ann is not None:
        one_of("--ann", ann, KINDS)
    one_of("--runner", runner, RUNNERS)
    if store is not None:
        one_of("--store", store, STORES)
    if store == INT8 and ann is not None:
        raise R2D2Error("--store int8 is compared exactly, without --ann: leave one of them out")
    if export is not None:
        outputs = [a_file(export, ".parquet", option="--export")]
        check_outputs(outputs, inputs=[table, model, captions], overwrite=overwrite)
    if options is not None:
        table, model = _indexed_folder(table, options), None
    if model is not None:
        tell_ranking(loaded(lasting_name(model)))
        done = build_index(
            table, model, texts=texts, runner=runner, workers=workers, dim=dim,
            store=store, overwrite=overwrite,
        )  # fmt: skip
        bad = count_bad(done.images)
        typer.echo(f"images: {done.images.kept} embedded" + (f", left out: {bad}" if bad else ""))
        if done.texts is not None:
            typer.echo(f"texts: {done.texts.kept} embedded")
        typer.echo(f"{done.vectors} of {done.rows} rows have a vector, by {done.fingerprint}")
        for note in notes_of_gallery(TableGallery(table)) if done.vectors else ():
            typer.echo(note.note)
    if ann is not None:
        for measured in build_ann(table, ann, probes=probes, progress=typer.echo).values():
            for line in measured.lines():
                typer.echo(line)
    if export is not None:
        typer.echo(f"{export_vectors(table, export, overwrite=overwrite)} vectors: {export}")


def _folder_options(
    context: typer.Context, path: str | None, model: str | None, out: Path | None,
    captions: Path | None, follow_links: bool | None, copies: bool | None, overwrite: bool = False,
) -> FolderOptions | None:  # fmt: skip
    """The options of a folder of pictures; None where `path` is none, and options are refused."""
    from r2d2.errors import R2D2Error
    from r2d2.photo_folder.settings import FolderOptions, is_picture_folder

    if path is None or not is_picture_folder(path):
        refuse_given(context, OF_FOLDERS, "goes with a folder of pictures")
        return None
    if captions is not None and not captions.is_file():
        raise R2D2Error(f"there is no file {captions}: give --captions a CSV or JSONL file")
    return FolderOptions(model, captions, follow_links, copies, out, overwrite)


def _indexed_folder(path: str, options: FolderOptions) -> str:
    """Bring the table of a folder up to date; gives the table."""
    from r2d2.models import tell_ranking
    from r2d2.photo_folder.estimate import folder_size, size_in_words
    from r2d2.photo_folder.open import open_folder

    opened = open_folder(path, options, typer.echo)
    tell_ranking(opened.model)
    typer.echo(f"{opened.table_dir}: {size_in_words(folder_size(opened.table_dir))}")
    return opened.uri


def _open_searcher(
    path: str | None,
    model: str | None,
    options: FolderOptions | None = None,
    kept_bytes: int | None = None,
) -> Searcher:
    """A table, the emoji, or a folder of pictures that is brought up to date first."""
    from r2d2.index.embed import loaded
    from r2d2.index.gallery.emoji import EmojiGallery
    from r2d2.index.gallery.notes import other_kind_note
    from r2d2.index.gallery.table import TableGallery
    from r2d2.photo_folder.gallery import FolderGallery
    from r2d2.photo_folder.open import open_folder
    from r2d2.photo_folder.settings import FolderOptions, is_picture_folder
    from r2d2.saved_model import SHIPPED
    from r2d2.search.searcher import Searcher
    from r2d2.search.second_stage import KEPT_BYTES
    from r2d2.tensor_cores import allow_tensor_cores

    kept_bytes = KEPT_BYTES if kept_bytes is None else kept_bytes
    if path is None or not is_picture_folder(path):
        table = None if path is None else TableGallery(path)  # before a model is loaded
        net = loaded(SHIPPED if model is None else model)  # tables of one model share it
        searcher = Searcher(net, EmojiGallery.open(net) if table is None else table, kept_bytes)
    else:
        chosen = FolderOptions(model) if options is None else options
        opened = open_folder(path, chosen, lambda line: typer.echo(line, err=True))
        allow_tensor_cores(opened.model)
        searcher = Searcher(opened.model, FolderGallery(opened), kept_bytes)
        if opened.changes is not None:
            return searcher  # it was told already
    note = other_kind_note(searcher.gallery)
    if note is not None:
        typer.echo(note.note, err=True)
    return searcher
