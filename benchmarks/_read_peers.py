"""torchcodec, LitData and WebDataset on the clips that `read.py` reads with `Clips`.

All give the same: batches of ``frames`` uint8 [clips, frames, …, 192, 256, 3 or before them] and
``density`` uint8 [clips, frames, 180, 320], every clip once per epoch, in random order.

torchcodec decodes the video, either as the dataset has it (H.264, 360x640, resized by the decoder)
or written anew at 192x256; it seeks approximately, with one thread per decoder, and keeps decoders
open, as its page on performance advises. Density is mapped from a plain ``.npy`` file.

LitData and WebDataset hold samples that are whole clips, so that their files are written for one
length of clip. Each has two forms: raw (LitData's tensors, which it maps from the file without a
copy; WebDataset's own ``.ten``), and JPEG of quality 95 per frame and per map, decoded by
libjpeg-turbo through torchvision. Both draw clips at random near each other in the files, not from
all clips as `Clips` does: from chunks and shards of 64 MB in random order.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _read_data import FRAME_SIZE, Arrays
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from foveal.pipeline.demo import encode_video

CHUNK_BYTES = 64 * 2**20
JPEG_QUALITY = 95
SHUFFLED_AHEAD = 32
"""Samples that WebDataset holds to draw the next one from."""

Sample = dict[str, Any]
Reader = Callable[[], Iterator[Any]]


class Form(NamedTuple):
    """One way in which a peer holds the clips: what begins an epoch, and the files it reads."""

    reader: Reader
    files: list[Path]

    @property
    def stored_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class Source:
    """The same clips for every peer.

    Attributes
    ----------
    folder : Path
        Where peers write their files.
    videos : mapping of str to Path
        The video files, by name.
    arrays : mapping of str to mapping of str to ndarray
        Decoded ``frames`` and ``density`` of each.
    clips : sequence of (str, int)
        Video and first frame of each clip.
    frames : int
        Frames of a clip.
    batch : int
        Clips of a batch.
    """

    folder: Path
    videos: Mapping[str, Path]
    arrays: Mapping[str, Arrays]
    clips: Sequence[tuple[str, int]]
    frames: int
    batch: int

    def sample(self, number: int) -> dict[str, Any]:
        """Decoded frames and density of a clip, as NumPy's arrays, and its number."""
        video, start = self.clips[number]
        found = {key: self.arrays[video][key][start : start + self.frames] for key in KEYS}
        return {"clip": number, **found}


KEYS = ("frames", "density")


def jpegs(pictures: Any) -> list[bytes]:
    """Each picture of an array as the bytes of a JPEG file."""
    found = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
        found.append(file.getvalue())
    return found


def by_loader(data: Dataset[Any], source: Source, workers: int) -> Reader:
    """A DataLoader as torch's own documents have it."""
    loader = DataLoader(
        data,
        source.batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return loader.__iter__


class Videos(Dataset[Sample]):
    """Clips that torchcodec decodes; resized by it where `size` is given."""

    def __init__(
        self, source: Source, videos: Mapping[str, Path], size: tuple[int, int] | None
    ) -> None:
        self.source, self.videos, self.size = source, videos, size
        self.open: dict[tuple[int, str], Any] = {}  # an open file is no use after a fork

    def __len__(self) -> int:
        return len(self.source.clips)

    def __getitem__(self, number: int) -> Sample:
        video, start = self.source.clips[number]
        key = os.getpid(), video
        if key not in self.open:
            self.open[key] = self._decoder(video), np.load(density_file(self.source, video), "r")
        decoder, density = self.open[key]
        stop = start + self.source.frames
        return {
            "clip": number,
            "frames": decoder.get_frames_in_range(start, stop).data,
            "density": torch.from_numpy(np.array(density[start:stop])),
        }

    def _decoder(self, video: str) -> Any:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-untyped, import-not-found]
        from torchcodec.transforms import Resize  # type: ignore[import-untyped, import-not-found]

        return VideoDecoder(
            str(self.videos[video]),
            dimension_order="NHWC",  # as FFmpeg gives them: nothing is turned
            num_ffmpeg_threads=1,
            seek_mode="approximate",
            transforms=None if self.size is None else [Resize(self.size)],
        )


def density_file(source: Source, video: str) -> Path:
    return source.folder / f"{video}-density.npy"


def torchcodec(source: Source, workers: int) -> dict[str, Form]:
    small = {video: source.folder / f"{video}-small.mp4" for video in source.videos}
    for video, arrays in source.arrays.items():
        if not small[video].exists():
            encode_video(iter(arrays["frames"]), small[video], 30.0, "libx264")
            np.save(density_file(source, video), arrays["density"])
    maps = [density_file(source, video) for video in source.videos]
    forms = {
        "torchcodec, video resized": Videos(source, source.videos, FRAME_SIZE),
        "torchcodec, video at this size": Videos(source, small, None),
    }
    return {
        name: Form(by_loader(data, source, workers), [*data.videos.values(), *maps])
        for name, data in forms.items()
    }


def litdata(source: Source, workers: int) -> dict[str, Form]:
    os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"
    from litdata import (  # type: ignore[import-untyped, import-not-found]
        JpegArray,
        StreamingDataLoader,
        StreamingDataset,
        optimize,
    )

    def raw(number: int) -> Sample:
        sample = source.sample(number)
        return {"clip": number, **{key: torch.from_numpy(sample[key].copy()) for key in KEYS}}

    def as_jpegs(number: int) -> Sample:
        sample = source.sample(number)
        return {"clip": number, **{key: JpegArray(images=jpegs(sample[key])) for key in KEYS}}

    forms = {}
    for form, write in (("raw", raw), ("JPEG", as_jpegs)):
        folder = source.folder / f"litdata-{form}-{source.frames}"
        if not folder.exists():
            optimize(
                fn=write,
                inputs=list(range(len(source.clips))),
                output_dir=str(folder),
                chunk_bytes=CHUNK_BYTES,
                num_workers=1,
                start_method="fork",
                verbose=False,
            )
        data = StreamingDataset(
            str(folder),
            shuffle=True,
            drop_last=False,
            max_cache_size="25GB",
            transform=None if form == "raw" else stacked,
        )
        loader = StreamingDataLoader(
            data,
            batch_size=source.batch,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        forms[f"LitData, {form}"] = Form(loader.__iter__, sorted(folder.iterdir()))
    return forms


def stacked(sample: Sample) -> Sample:
    """Pictures that were decoded one by one, as one tensor."""
    return {"clip": sample["clip"], **{key: torch.stack(list(sample[key])) for key in KEYS}}


def webdataset(source: Source, workers: int) -> dict[str, Form]:
    import webdataset as wds  # type: ignore[import-untyped, import-not-found]

    forms = {}
    for form in ("raw", "JPEG"):
        folder = source.folder / f"webdataset-{form}-{source.frames}"
        if not folder.exists():
            folder.mkdir()
            write_tars(source, folder, form)
        shards = sorted(map(str, folder.glob("*.tar")))
        data = (
            wds.WebDataset(shards, shardshuffle=len(shards), seed=0, empty_check=False)
            .shuffle(SHUFFLED_AHEAD, initial=SHUFFLED_AHEAD)
            .decode(decoded_jpeg)
            .map(from_tar)
            .batched(source.batch, collation_fn=torch.utils.data.default_collate)
        )
        loader = wds.WebLoader(
            data, batch_size=None, num_workers=workers, persistent_workers=workers > 0
        )
        files = sorted(folder.iterdir())
        forms[f"WebDataset, {form}"] = Form(functools.partial(iter, loader), files)
    return forms


def write_tars(source: Source, folder: Path, form: str) -> None:
    """Shards of 64 MB, and at least four, so that two workers have enough of them."""
    import webdataset as wds  # type: ignore[import-untyped, import-not-found]

    pattern, most = str(folder / "clips-%05d.tar"), -(-len(source.clips) // 4)
    with wds.ShardWriter(pattern, maxcount=most, maxsize=CHUNK_BYTES, verbose=0) as sink:
        for number in np.random.default_rng(4).permutation(len(source.clips)).tolist():
            sample = source.sample(number)
            written: Sample = {"__key__": f"{number:06d}", "clip.cls": number}
            for key in KEYS:
                if form == "raw":
                    written[f"{key}.ten"] = [np.ascontiguousarray(sample[key])]
                else:
                    pictures = enumerate(jpegs(sample[key]))
                    written |= {f"{key}.{n:03d}.jpg": picture for n, picture in pictures}
            sink.write(written)


def decoded_jpeg(key: str, data: bytes) -> Any:
    """WebDataset decodes by Pillow unless it is given something better."""
    if not key.endswith(".jpg"):
        return None
    from torchvision.io import decode_jpeg

    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def from_tar(sample: Sample) -> Sample:
    found: Sample = {"clip": sample["clip.cls"]}
    for key in KEYS:
        if f"{key}.ten" in sample:
            # Memory that may not be written to, of which torch would warn.
            values = sample[f"{key}.ten"][0]
            found[key] = torch.frombuffer(values, dtype=torch.uint8).view(values.shape)
        else:
            names = sorted(name for name in sample if name.startswith(f"{key}."))
            found[key] = torch.stack([sample[name] for name in names])
    return found


PEERS: dict[str, Callable[[Source, int], dict[str, Form]]] = {
    "torchcodec": torchcodec,
    "litdata": litdata,
    "webdataset": webdataset,
}


def why_missing(peer: str, video: Path) -> str | None:
    """Why a peer cannot be measured here, and what to do; None where it can.

    Parameters
    ----------
    peer : {'torchcodec', 'litdata', 'webdataset'}
    video : Path
        A file that torchcodec tries to open: only then does it look for FFmpeg.
    """
    try:
        if peer == "torchcodec":
            from torchcodec.decoders import VideoDecoder

            VideoDecoder(str(video))
        else:
            __import__(peer)
    except ImportError as error:
        if (error.name or "").split(".")[0] == peer:
            return f"{peer} is not installed; pip install 'foveal[bench]'"
        return f"{peer} cannot be imported: {_first_line(error)}"
    except (RuntimeError, OSError) as error:
        if "libtorchcodec" not in str(error) and "FFmpeg" not in str(error):
            raise
        return (
            "torchcodec cannot be loaded: either there are no shared libraries of FFmpeg 4 to 9 "
            "(apt-get install ffmpeg brings them; imageio-ffmpeg has none), or it was built for "
            f"another PyTorch than {torch.__version__}"
        )
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
