"""What all tests share: no silent errors, a tiny set of random weights, and the real clips where they exist."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

# A busy machine may be slow at any moment; how fast the code is, benchmarks/ tells.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT.parent / "shared" / "media"


@pytest.fixture(autouse=True)
def _no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A test during which something was logged as an error fails, whatever it asserts."""
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR]
    assert not errors, f"logged as errors: {errors}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real clips are skipped where the clips are not."""
    if MEDIA.is_dir():
        return
    for item in items:
        if item.get_closest_marker("media"):
            item.add_marker(
                pytest.mark.skip(reason="needs the real clips of ../shared/media, which are not here")
            )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of bfloat16 kernels, or of CUDA, are skipped where there are none.

    Skips that are raised here are one line of the summary, however many tests they are.
    """
    if item.get_closest_marker("bf16"):
        from extractors.paper.precision import cpu_runs_bf16

        if not cpu_runs_bf16():
            pytest.skip("needs bfloat16 kernels, which this processor does not run")
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs CUDA: `make gpu` on a machine that has it")


class Answer(NamedTuple):
    """What a command said: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Runs `pipeline ARGUMENTS` in this process, in an empty working directory."""
    from pipeline.cli import main

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        gc.unfreeze()  # this process goes on, with much that is no part of the command
        out, err = capsys.readouterr()
        return Answer(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """URL of a bucket on an S3 server of this machine."""
    pytest.importorskip("s3fs", reason="needs s3fs, which is not installed")
    moto = pytest.importorskip("moto.server", reason="needs moto[server], which is not installed")
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-of-a-server-for-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        s3fs.S3FileSystem().mkdir("features")
        yield "s3://features"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder of real clips; use it with the marker `media`."""
    return MEDIA


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of the preset `compact` with random weights and small networks, for tests of the shell.

    Its extractors are TSN and wav2vec 2.0, to which any picture and any sound says something: the clips of these tests
    show no face and speak no word. The fused head is biased towards "both", so that there is something to localize.
    """
    import torch
    import transformers
    from safetensors.torch import save_file
    from saved_weights import save_weights

    from configs.loader import dump, load_config
    from extractors.paper.resnet import build_trunk, trunk_dim
    from models.rt_deeploc import RTDeepLoc

    folder = tmp_path_factory.mktemp("weights") / "tiny"
    folder.mkdir()
    config = load_config(
        "compact",
        [
            "visual.network=tsn",
            "visual.arch=resnet18",
            "visual.weights=shipped:tsn.safetensors",
            "audio.network=wav2vec2",
            "audio.weights=shipped:wav2vec2",
            "visual.short_side=48",
            "visual.crop=48",
            "audio.chunk_s=2.0",
            "audio.context_s=0.5",
            f"model.visual_dim={trunk_dim('resnet18')}",
            "model.audio_dim=16",
            "localize.calibration={}",
            "model.fusion={dim: 16, heads: 2}",
            "model.fdn={encoder_dim: 16, decoder_dim: 16, heads: 2, encoder_layers: 1, decoder_layers: 1}",
            "model.heads={hidden: 16}",
            "localize.window=64",
            "localize.overlap=32",
        ],
    )
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(build_trunk("resnet18").state_dict(), folder / "tsn.safetensors")
        audio = transformers.Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8,) * 7,
            conv_stride=(5, 2, 2, 2, 2, 2, 2),
            conv_kernel=(10, 3, 3, 3, 3, 2, 2),
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            vocab_size=8,
        )
        transformers.Wav2Vec2Model(audio).save_pretrained(folder / "wav2vec2")
        model = RTDeepLoc(config.model)
        model.heads.heads["fused"].out.bias.data = torch.tensor([-2.0, 1.0, 1.0, 3.0])
        save_weights(model, folder / "rt_deeploc.safetensors")
    return folder


@pytest.fixture(scope="session")
def traced_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """`tiny_bundle` with the extractors of the preset `compact` itself, which look at faces and speech only."""
    import torch
    from extractor_factory import face_tensors, voice_tensors, write_tensors
    from saved_weights import save_weights

    from configs.loader import dump, load_config
    from extractors.compact.evidence_net import DIM
    from models.rt_deeploc import RTDeepLoc
    from pipeline.bundle import bundle_config

    folder = tmp_path_factory.mktemp("weights") / "traced"
    write_tensors(folder / "face_traces.safetensors", face_tensors())
    write_tensors(folder / "voice_traces.safetensors", voice_tensors())
    tiny, compact = bundle_config(tiny_bundle), load_config("compact", ["visual.short_side=96"])
    model = tiny.model.model_copy(update={"visual_dim": DIM, "audio_dim": DIM})
    config = compact.model_copy(update={"model": model, "localize": tiny.localize})
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(RTDeepLoc(model), folder / "rt_deeploc.safetensors")
    return folder
