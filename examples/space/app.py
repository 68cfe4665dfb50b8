"""Drop or record a clip: its log-mel, what sounds like it, who it may be, where it lies.

python app.py     # http://127.0.0.1:7860, or on a Hugging Face Space

Environment: SPACE_DATA (folder that prepare.py made, else `data` beside this file),
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, SPACE_LIMITS (JSON: fields of `limits.Limits`).
"""

import atexit
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: nothing is sent anywhere
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# a new folder, also inside the one that is named: what grows old in it is removed
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(
    prefix="artist-features-space-", dir=os.environ.get("GRADIO_TEMP_DIR")
)
# taken away: Gradio reads it at its import, and ends in a traceback if it is no number
os.environ["SPACE_PORT"] = os.environ.pop("GRADIO_SERVER_PORT", "") or "7860"

import fragments
import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from gate import Gate
from library import LISTEN_S, PREVIEWS, analyse, default_folder, open_library
from limits import read_limits
from server import TimedProtocol

from artist_features.errors import ArtistFeaturesError, AudioError
from artist_features.maps.plots import Listener, draw

PORT = os.environ["SPACE_PORT"]
UPLOADS = Path(os.environ["GRADIO_TEMP_DIR"])
atexit.register(shutil.rmtree, UPLOADS, ignore_errors=True)
STYLE = Path(__file__).with_name("style.css")
TITLE = "What does this sound like?"
ABOUT = (
    f"Drop or record a clip. It is compared by 256 numbers that a network, trained to tell artists "
    f"apart, gives it; its first {LISTEN_S / 60:g} minutes count. Clips are kept only until there "
    "is need for space."
)


def build_app(folder, limits):
    """Return the ASGI app.

    Args:
        folder: that `prepare.py` made; may be missing, which the page then says.
        limits: `Limits`.
    """
    library, problem = open_library(folder)
    listener = library.listener if library else Listener("siamese")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health():
        return {"status": "ok", "recordings": len(library.index) if library else 0}

    @app.get("/previews/{name}")
    async def preview(name: str):
        row = name.removesuffix(".mp3")
        if library is None or not (row.isascii() and row.isdigit() and len(row) < 9):
            raise HTTPException(404)
        if library.preview(int(row)) != name:
            raise HTTPException(404)
        return FileResponse(library.folder / PREVIEWS / name, media_type="audio/mpeg")

    gr.mount_gradio_app(
        app,
        _page(library, listener, problem, limits),
        "/",
        max_file_size=limits.upload_bytes,
        css=STYLE.read_text(encoding="utf-8"),
        # fonts by name only: the default theme's would come from a font server
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=False,
    )
    return Gate(app, limits, UPLOADS)


def _page(library, listener, problem, limits):
    def listen(path):
        return answer(path, library, listener, problem)

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n\n{ABOUT}")
        remark = _html(fragments.notice(problem), "remark")
        clip = gr.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            editable=False,
            buttons=[],  # sharing would send the clip to huggingface.co
            label="Clip",
            elem_id="clip",
        )
        with gr.Row():
            with gr.Column(scale=3):
                tracks = _html("", "nearest")
            with gr.Column(scale=2):
                artists = _html("", "artists")
                plan = _html("", "plan")
        picture = gr.Plot(show_label=False, visible=False, elem_id="picture")
        outputs = [remark, tracks, artists, plan, picture]
        clip.change(listen, clip, outputs, api_visibility="private", concurrency_limit=1)
    page.has_launched = True  # else Gradio, being mounted, does not check which files it opens
    page.queue(max_size=limits.n_waiting, default_concurrency_limit=1, api_open=False)
    return page


def _html(value, name):
    # escaped by `fragments`; no formulas, so that `$` stays `$`
    return gr.Markdown(value, elem_id=name, sanitize_html=False, latex_delimiters=[])


def answer(path, library, listener, problem):
    """Return what the page shows of a clip: remark, tracks, artists, map, picture.

    What is wrong with a clip or the library is a remark; the app goes on.
    """
    nothing = ("", "", "", gr.Plot(None, visible=False))
    if path is None:
        return fragments.notice(problem), *nothing
    try:
        found = analyse(path, library, listener)
    except AudioError as error:  # without the name, which is ours
        return fragments.notice(f"This clip cannot be used: {error.message}"), *nothing
    except ArtistFeaturesError as error:  # the index is damaged, or no process can be started
        return fragments.notice(f"Nothing could be found: {error}"), *nothing
    remarks = [f"{code}: {text}" for code, text in found.heard.flaws]
    if found.heard.edges_s[-1] > LISTEN_S - 2 * listener.front_end.segment_hop_s:
        remarks.append(f"only the first {LISTEN_S / 60:g} minutes were used")
    picture = gr.Plot(draw(found.heard), visible=True)
    remark = fragments.notice("; ".join([problem] * bool(problem) + remarks))
    if not found.tracks:
        return remark, "", "", "", picture
    return (
        remark,
        f"<h2>Nearest tracks</h2>{fragments.tracks(found.tracks, library.preview)}",
        f"<h2>Most likely artists</h2>{fragments.artists(found.artists)}",
        f"<h2>On the map</h2>{fragments.plan(library, found)}",
        picture,
    )


def main():
    """Serve until stopped."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    on_a_space = "SPACE_ID" in os.environ
    preset = {"framed_by": ("https://huggingface.co",)} if on_a_space else {}
    try:
        limits = read_limits(os.environ.get("SPACE_LIMITS", ""), **preset)
    except ValueError as error:
        sys.exit(f"The environment variable SPACE_LIMITS cannot be used: {error}.")
    if not (re.fullmatch("[0-9]{1,5}", PORT) and 0 < int(PORT) < 65536):
        sys.exit(
            f"The environment variable GRADIO_SERVER_PORT is {PORT[:200]!r}; a whole number from "
            "1 to 65535 is allowed."
        )
    app = build_app(default_folder(), limits)
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_a_space else "127.0.0.1")
    print(f"http://{host}:{PORT}", file=sys.stderr)
    # uvicorn ends in order, then sends itself the signal, which would leave the recordings
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    protocol = TimedProtocol.with_patience(limits.patience_s)
    # h11 bounds a request's headers (64 kB), which the other parser does not
    uvicorn.run(
        app,
        host=host,
        port=int(PORT),
        http=protocol,
        ws="none",
        log_level="warning",
        limit_concurrency=200,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
