"""The sound of a video, on the clock of its frames."""

from __future__ import annotations

from collections.abc import Generator

import av
import numpy as np

from foveal.errors import DecodeError
from foveal.pipeline.video.types import AudioBatch, Video


def decode_audio(video: Video) -> Generator[AudioBatch, None, None]:
    """Decode the first audio stream of a video, mixed down to one channel at its own rate.

    The container's timestamps say when a sample sounds: the presentation time of the first frame
    is 0, so sound that begins before it has negative times.

    Parameters
    ----------
    video : Video
        A folder of images, or a file without sound, yields nothing.

    Raises
    ------
    DecodeError
        The sound is there and cannot be decoded.
    """
    if video.image_names is not None:
        return
    try:
        with av.open(str(video.path)) as container:
            if not container.streams.audio:
                return
            stream = container.streams.audio[0]
            first_frame_seconds = _first_frame_seconds(container)
            mono = av.AudioResampler(format="fltp", layout="mono")
            start = 0
            container.seek(0)
            for frame in container.decode(stream):
                for part in mono.resample(frame):
                    samples = np.ascontiguousarray(part.to_ndarray()[0], np.float32)
                    if part.pts is None or part.time_base is None:
                        raise DecodeError(f"{video.path}: its sound carries no timestamps")
                    at_seconds = float(part.pts * part.time_base) - first_frame_seconds
                    yield AudioBatch(start, samples, part.sample_rate, at_seconds)
                    start += len(samples)
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"{video.path}: its sound cannot be decoded: {error}") from None


def _first_frame_seconds(container: av.container.InputContainer) -> float:
    if not container.streams.video:
        return 0.0
    for frame in container.decode(container.streams.video[0]):
        return frame.time or 0.0
    return 0.0
