"""This module holds the state of a training run, saves it in checkpoints and restores it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch

from foveal.errors import FovealError, RecipeError
from foveal.models import saliency
from foveal.models.losses import saliency_loss
from foveal.models.saliency import State, detach
from foveal.pipeline.learn import checkpoint
from foveal.pipeline.learn.fit import misfits
from foveal.pipeline.learn.held_out import divide
from foveal.pipeline.learn.inference import autocast_dtype, mixed
from foveal.pipeline.learn.inputs import to_network
from foveal.pipeline.learn.loggers import check_logger
from foveal.pipeline.learn.optimiser import make_optimiser, set_learning_rate, warn_of_schedule
from foveal.pipeline.learn.processes import World
from foveal.pipeline.learn.run_log import RunLog
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.several_stores import augmentation, batch_sizes, open_clips
from foveal.pipeline.learn.step import Step
from foveal.pipeline.learn.validation import Validation
from foveal.pipeline.stages.threads import ahead
from foveal.storage.reader import open_store
from foveal.torch.batch import Sample
from foveal.torch.clips import Clips
from foveal.torch.loader import ClipLoader

log = logging.getLogger(__name__)

BATCHES_AHEAD = 2


class Run:
    """Everything that changes while a network is trained; it starts a run or resumes one.

    Parameters
    ----------
    settings : TrainSettings
    world : World
        The processes that train together.

    Raises
    ------
    RecipeError, StoreError
        See `train.train`.
    """

    def __init__(self, settings: TrainSettings, world: World) -> None:
        self.world = world
        check_logger(settings.logger)
        torch.manual_seed(settings.seed)
        self.network = saliency.build(
            settings.model, weights=settings.weights, backbone=settings.backbone, **settings.options
        ).to(world.device)
        spec = self.network.spec
        self.stores = [open_store(url) for url in settings.stores]
        self.division = divide(settings, self.stores)
        pictures = self.division.only_pictures
        self.settings = settings = settings.with_paper(spec, world.size, pictures=pictures)
        assert settings.clip_frames is not None
        assert settings.batch_size is not None
        self.misfits = misfits(self.stores, spec, settings.flow)
        if self.misfits and settings.strict_inputs:
            raise RecipeError(
                "strict_inputs: " + "; and ".join(self.misfits) + "; or train without strict_inputs"
            )
        for misfit in self.misfits if world.leads else ():
            log.warning("%s", misfit)
        clips = open_clips(
            self.stores,
            settings.train_split,
            spec,
            settings.flow,
            videos=[videos for _, videos in self.division.train],
            augmentation=augmentation(settings),
            by_video=bool(settings.carry_state),
            frames=settings.clip_frames,
            stride=settings.clip_stride,
            short=settings.short,
        )
        self.loader = ClipLoader(
            cast(Clips, clips),
            batch_sizes(settings, self.stores),
            shuffle="none" if settings.carry_state else "clips",
            seed=settings.seed,
            drop_last=world.size > 1,
            num_workers=settings.workers,
            pin_memory=world.device.type == "cuda",
        )
        if not len(self.loader):
            raise RecipeError(
                f"{len(clips)} clips give no batch of {settings.batch_size} to each of "
                f"{world.size} processes; take a smaller batch_size or clip_stride"
            )
        self.order = self.loader.state_dict()
        self.loss = saliency_loss(settings.loss or "", settings.loss_over_time or "mean")
        self.optimiser = make_optimiser(self.network, settings)
        self.dtype = autocast_dtype(settings.precision, settings.model, world.device)
        self.scaler = torch.GradScaler(world.device.type, enabled=self.dtype == torch.float16)
        self.validation = Validation.of(self.division, spec, settings.flow)
        torch.manual_seed(settings.seed + world.rank)

        self.iteration = 0
        self.epoch, self.batch = 0, 0
        self.state: State | None = None
        self.previous: tuple[str, int] = ("", -1)
        self.best_nss: float | None = None
        self.best_iteration, self.worse = 0, 0
        self.last_loss: float | None = None
        self.saved_iteration = 0
        self.folder = Path(settings.run).expanduser()
        self._resume()
        self.parallel = world.parallel(self.network)
        self.first_iteration = self.iteration
        self.started = time.monotonic()
        self.waited = 0.0
        self.log = RunLog(settings, self.folder, self.iteration) if world.leads else None
        if world.leads and not self.ended:
            warn_of_schedule(settings.learning_schedule(), len(self.loader), self.iterations)

    @property
    def iterations(self) -> int:
        """Steps of the whole run."""
        epochs = self.settings.epochs or 0
        return self.settings.iterations or epochs * len(self.loader)

    @property
    def gave_up(self) -> bool:
        """Whether NSS has not risen for as many validations as `patience` allows."""
        return self.settings.patience is not None and self.worse >= self.settings.patience

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.iteration >= self.iterations or self.gave_up

    def batches(self) -> Iterator[Sample]:
        """Yield the rest of this epoch, or the next epoch; the time spent waiting is counted."""
        if self.batch == len(self.loader):
            self.epoch, self.batch = self.epoch + 1, 0
        self.loader.load_state_dict({**self.order, "epoch": self.epoch, "batches": self.batch})
        with closing(ahead(iter(self.loader), BATCHES_AHEAD)) as reading:
            while True:
                started = time.monotonic()
                batch = next(reading, None)
                self.waited += time.monotonic() - started
                if batch is None:
                    break
                yield batch

    def step(self, batch: Sample) -> Step:
        """Update the weights once, and do whatever is due after it."""
        set_learning_rate(
            self.optimiser, self.settings.learning_schedule(), self.iteration, self.epoch
        )
        inputs, truth = to_network(batch, self.network.spec, self.world.device)
        self.network.train()
        with mixed(self.world.device, self.dtype):
            maps, state = self.parallel(inputs, self._state_for(batch))
        if not bool(maps.isfinite().all()):
            raise self._diverged("the network's maps are no longer finite")
        loss = self.loss(maps, truth["density"], truth["fixation_map"], truth["valid"])
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.settings.gradient_clip_norm:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.settings.gradient_clip_norm
            )
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.state = detach(state) if self.settings.carry_state else None
        self.iteration += 1
        self.batch += 1
        return self._after_step(self.world.mean(loss.detach()))

    def _after_step(self, loss: float) -> Step:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.last_loss = loss
        rate = float(self.optimiser.param_groups[0]["lr"])
        if self.log is not None:
            self.log.add_step(self.iteration, self.epoch, loss, rate)
        epoch_ends = self.batch == len(self.loader)
        every = self.settings.validate_every
        due = epoch_ends if every is None else self.iteration % every == 0
        nss = None
        if self.validation is not None and (due or self.iteration == self.iterations):
            nss = self._validate()
        if (
            nss is not None
            or epoch_ends
            or self.ended
            or self.iteration % self.settings.checkpoint_every == 0
        ):
            self.checkpoint()
        elapsed = time.monotonic() - self.started
        pace = elapsed / (self.iteration - self.first_iteration)
        return Step(
            iteration=self.iteration,
            iterations=self.iterations,
            epoch=self.epoch,
            loss=loss,
            learning_rate=rate,
            eta_seconds=pace * (self.iterations - self.iteration),
            waiting_share=self.waited / elapsed,
            nss=nss,
            best_nss=self.best_nss,
        )

    def _diverged(self, what: str) -> FovealError:
        return FovealError(
            f"step {self.iteration}: {what}; lower learning_rate "
            f"({self.settings.learning_rate:g}), or use precision=float32; the last checkpoint "
            f"in {self.folder} is kept"
        )

    def _state_for(self, batch: Sample) -> State | None:
        """Return the state to go on from where the clip before was of the same video, else none."""
        video, frame = batch["video"][0], int(batch["frame_number"][0, 0])
        follows = self.previous[0] == video and frame > self.previous[1]
        self.previous = (video, frame)
        return self.state if follows else None

    def _validate(self) -> float:
        """Return the NSS of the validation videos, and keep the best network."""
        assert self.validation is not None
        nss = self.validation.nss(self.network, self.world, self.dtype)
        better = self.best_nss is None or nss > self.best_nss
        self.worse = 0 if better else self.worse + 1
        if better:
            self.best_nss, self.best_iteration = nss, self.iteration
            self._save_network(nss)
        if self.log is not None:
            self.log.add_validation(self.iteration, self.epoch, nss)
        return nss

    def _save_network(self, nss: float | None) -> None:
        if self.world.leads:
            about = {
                "settings": self.settings.resolved(),
                "iteration": self.iteration,
                "validation_nss": nss,
                "validated_on": self.division.record(),
                "misfits": list(self.misfits),
            }
            checkpoint.save_network(self.folder / checkpoint.BEST, self.network, about)

    def checkpoint(self) -> None:
        """Save everything, unless this very step was saved already; every process calls it."""
        if self.saved_iteration == self.iteration:
            return
        self.saved_iteration = self.iteration
        randomness = self.world.gather(self.world.random_state())
        if not self.world.leads:
            return
        if self.validation is None:
            self._save_network(None)
        values = {
            "settings": self.settings.resolved(),
            "validated_on": self.division.record(),
            "network": self.network.state_dict(),
            "provenance": dict(self.network.provenance),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "order": self.order,
            "iteration": self.iteration,
            "epoch": self.epoch,
            "batch": self.batch,
            "state": None if self.state is None else list(self.state),
            "previous": list(self.previous),
            "best": [self.best_nss, self.best_iteration, self.worse],
            "random": randomness,
        }
        checkpoint.save(self.folder, values)

    def _resume(self) -> None:
        """Go on from the checkpoint in the folder, if there is one."""
        values = checkpoint.load(self.folder, keep_damaged=self.world.leads)
        if values is None:
            return
        checkpoint.check_same_settings(self.folder, self.settings.resolved(), values["settings"])
        self.loader.load_state_dict(
            {**values["order"], "epoch": values["epoch"], "batches": values["batch"]}
        )
        self.network.load_state_dict(values["network"])
        self.network.provenance = values["provenance"]
        self.optimiser.load_state_dict(values["optimiser"])
        self.scaler.load_state_dict(values["scaler"])
        self.iteration, self.epoch = values["iteration"], values["epoch"]
        self.batch = values["batch"]
        self.saved_iteration = self.iteration
        state = values["state"]
        self.state = None if state is None else tuple(t.to(self.world.device) for t in state)
        self.previous = (values["previous"][0], values["previous"][1])
        self.best_nss, self.best_iteration, self.worse = values["best"]
        self.world.set_random_state(values["random"][self.world.rank])
        log.info("%s: going on after step %d", self.folder, self.iteration)

    def forecast_seconds(self) -> float:
        """Return the duration of one step in seconds, taken by a copy of the network."""
        network = deepcopy(self.network).train()
        started = time.monotonic()
        place = {"epoch": self.epoch, "batches": self.batch % len(self.loader)}
        self.loader.load_state_dict({**self.order, **place})
        with closing(iter(self.loader)) as reading, torch.random.fork_rng(devices=[]):
            batch = next(reading)
            inputs, truth = to_network(batch, network.spec, self.world.device)
            with mixed(self.world.device, self.dtype):
                maps, _ = network(inputs, None)
            loss = self.loss(maps, truth["density"], truth["fixation_map"], truth["valid"])
            loss.backward()
        return time.monotonic() - started

    def close(self) -> None:
        """Close the logs."""
        if self.log is not None:
            self.log.close()
