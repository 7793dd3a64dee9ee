"""This module carries out an experiment step by step, and skips what is done already.

What is done is known from what the steps leave: completion marks in stores, checkpoints of runs,
and one file of scores per network and target that says what it was made from.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from foveal.errors import FovealError, RecipeError, StoreError
from foveal.machine import file_sha256
from foveal.models import saliency
from foveal.models.device import choose_device
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.demo.tiny import write_tiny
from foveal.pipeline.experiment.model import Experiment
from foveal.pipeline.experiment.scores import Score, read_score, write_score
from foveal.pipeline.experiment.spec import MEASURED
from foveal.pipeline.experiment.steps import Outcome, Step, masks_of, steps_of
from foveal.pipeline.learn.checkpoint import BEST, load_network, save_network
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.masks import attach_masks, stored_masks
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.train import Listen, train
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.evaluation import inputs_sha256
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import open_store

Builder = Callable[[Recipe], Sequence[VideoResult]]
"""Builds the store of a recipe."""

Advance = Callable[[str, int, int], None]
"""Called with a video, the number of frames done and the number of its frames."""


def build_here(recipe: Recipe) -> list[VideoResult]:
    """Build a store in this process, video after video."""
    with Build.open(recipe).at_work() as build:
        plan = build.plan()
        build.remember(plan)
        results = [*plan.settled, *(build.run(item.video.id) for item in plan.to_do)]
        build.finalise(results)
    return results


@dataclass
class Work:
    """An experiment while it is carried out.

    Parameters
    ----------
    experiment : Experiment
    builder : callable
        Builds the store of a recipe.
    listen : callable
        Called after every step of a training.
    advance : callable
        Called while videos are predicted or scored, see `Advance`.
    """

    experiment: Experiment
    builder: Builder = build_here
    listen: Listen = lambda step: None
    advance: Advance = lambda video, done, frames: None
    _made_by: dict[str, str] = field(default_factory=dict, init=False)

    def steps(self, only: Sequence[str] = ()) -> list[Step]:
        """See `foveal.pipeline.experiment.steps.steps_of`."""
        return steps_of(self.experiment, only)

    def run(self, step: Step) -> Outcome:
        """Carry out a step, unless it is done.

        Raises
        ------
        FovealError
            It cannot be done; what came before it stays.
        """
        started = time.monotonic()
        outcome: Outcome = getattr(self, f"_{step.kind}")(step)
        return replace(outcome, seconds=time.monotonic() - started)

    def score_of(self, training: str, target: str) -> Score | None:
        """Return the stored score; None if there is none or its inputs have changed."""
        score = read_score(self.experiment.folder, training, target)
        if score is None or score.made_by != self._identity(training):
            return None
        location = Location(self.experiment.store_url(self.experiment.spec.targets[target].store))
        array = Predictor.array_of(training)
        current = inputs_sha256(location, {array: score.videos})
        return score if current[array] == score.inputs_sha256 else None

    def _build(self, step: Step) -> Outcome:
        experiment, name = self.experiment, step.name
        masks = masks_of(experiment, name)
        dataset = None
        if experiment.scale == "tiny":
            kind = str(experiment.recipe(name).dataset.kind)
            tiny = write_tiny(kind, experiment.folder / "raw" / kind)
            dataset = self._tiny_dataset(name, tiny.section)
            masks = {mask: tiny.frame_list for mask in masks if tiny.frame_list is not None}
        recipe = experiment.recipe(name, dataset)
        Path(experiment.store_url(name)).parent.mkdir(parents=True, exist_ok=True)
        results = self.builder(recipe)
        for mask, path in masks.items():
            attach_masks(recipe.store, path, mask)
        bad = [result for result in results if not result.ok]
        if results and len(bad) == len(results):
            raise StoreError(f"{recipe.store}: no video could be built: {bad[0].reason}")
        if bad:
            about = f"{bad[0].video}: {bad[0].reason}"
            message = f"{len(bad)} of {len(results)} videos are left out ({about})"
            return Outcome(step, "incomplete", message)
        fresh = sum(result.status.value == "complete" for result in results)
        return Outcome(step, "done" if fresh else "unchanged", f"{len(results)} videos")

    def _tiny_dataset(self, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the made-up dataset's section, with the splits of the file's own section."""
        given: Any = self.experiment.spec.stores[name].recipe["dataset"]
        splits = given.get("splits")
        return {**section, **({"splits": splits} if splits is not None else {})}

    def _train(self, step: Step) -> Outcome:
        experiment, name = self.experiment, step.name
        folder = experiment.run_folder(name)
        settings = experiment.settings(name)
        if (folder / BEST).is_file() and self._all_scored(name):
            return Outcome(step, "unchanged", "scored already")
        training = experiment.spec.trainings[name]
        if not training.stores:
            return self._take_as_it_is(step)
        before = (folder / BEST).is_file()
        result = train(settings, self.listen)
        self._check_start(name)
        if result.ended == "stopped":
            return Outcome(step, "stopped", f"after step {result.iterations}")
        nss = "" if result.best_nss is None else f", best NSS {result.best_nss:.3f}"
        status: Literal["done", "unchanged"]
        status = "unchanged" if before and result.loss is None else "done"
        return Outcome(step, status, f"{result.iterations} steps{nss}")

    def _take_as_it_is(self, step: Step) -> Outcome:
        """Save a network that is not trained, with the weights that it starts from."""
        folder = self.experiment.run_folder(step.name)
        settings = self.experiment.settings(step.name)
        if (folder / BEST).is_file():
            self._check_start(step.name)
            return Outcome(step, "unchanged", "not trained")
        folder.mkdir(parents=True, exist_ok=True)
        import torch

        torch.manual_seed(settings.seed)
        network = saliency.build(
            settings.model, weights=settings.weights, backbone=settings.backbone, **settings.options
        )
        about = {"settings": settings.resolved(), "iteration": 0, "validation_nss": None}
        save_network(folder / BEST, network, about)
        return Outcome(step, "done", "not trained")

    def _check_start(self, name: str) -> None:
        """Check that a run started from the weights that exist now.

        Raises
        ------
        RecipeError
            They have been trained anew since.
        """
        for key, kind in (("weights_of", "weights"), ("backbone_of", "backbone")):
            start = getattr(self.experiment.spec.trainings[name], key)
            if start is None:
                continue
            file = self.experiment.run_folder(start) / BEST
            provenance = load_network(self.experiment.run_folder(name))[1]
            if provenance.get(f"{kind}_sha256") != _sha256(file):
                raise RecipeError(
                    f"{self.experiment.run_folder(name)} started from a {file} that has changed "
                    "since; remove that folder to train it anew"
                )

    def _all_scored(self, name: str) -> bool:
        """Tell whether every target that can be scored is scored; False if there is none."""
        spec = self.experiment.spec
        targets = [
            step.target for step in self.steps() if (step.kind, step.name) == ("score", name)
        ]
        targets = [one for one in targets if not spec.targets[one].withheld]
        return bool(targets) and all(self.score_of(name, target) for target in targets)

    def _predict(self, step: Step) -> Outcome:
        target = self.experiment.spec.targets[step.target]
        url = self.experiment.store_url(target.store)
        network, trained = load_network(self.experiment.run_folder(step.name))
        settings = self.experiment.settings(step.name)
        predictor = Predictor(
            network,
            step.name,
            flow=settings.flow,
            device=settings.device,
            precision=settings.precision,
            trained=trained,
        )
        results = predict_store(predictor, url, split=target.split, advance=self.advance)
        skipped = [result for result in results if result.status == "skipped"]
        if skipped and len(skipped) == len(results):
            raise StoreError(f"{url}: no video can be predicted: {skipped[0].reason}")
        if skipped:
            about = f"{skipped[0].video}: {skipped[0].reason}"
            return Outcome(step, "incomplete", f"{len(skipped)} videos are left out ({about})")
        fresh = any(result.status == "complete" for result in results)
        return Outcome(step, "done" if fresh else "unchanged", f"{len(results)} videos")

    def _score(self, step: Step) -> Outcome:
        kept = self.score_of(step.name, step.target)
        if kept is not None:
            return Outcome(step, "unchanged", kept.summary())
        spec = self.experiment.spec
        target = spec.targets[step.target]
        url = self.experiment.store_url(target.store)
        store = open_store(url)
        array = Predictor.array_of(step.name)
        selected = store.select(target.split)
        marks, _ = read_journal(store.location, selected)
        videos = [video for video in selected if array in marks.get(video, {})]
        left_out = len(selected) - len(videos)
        metrics = {
            metric
            for table in spec.tables.values()
            if step.target in table.targets
            for metric in table.metrics
            if metric not in MEASURED
        }
        settings = self.experiment.settings(step.name)
        wanted, _ = contestants(store, [array], ())
        evaluation = evaluate(
            store,
            wanted,
            split=target.split,
            videos=videos,
            metrics=sorted(metrics) or ["nss"],
            variant=target.variant,
            masks=stored_masks(store, videos, target.mask) if target.mask else None,
            device=choose_device(settings.device),
            advance=self.advance,
        ).to_dict()
        network, trained = load_network(self.experiment.run_folder(step.name))
        entry = evaluation["contestants"][array]
        score = Score(
            training=step.name,
            target=step.target,
            made_by=self._identity(step.name),
            means={
                metric: entry["dataset"][metric][f"mean_of_{target.average}"]
                for metric in evaluation["metrics"]
            },
            videos=sorted(entry["videos"]),
            left_out=left_out,
            inputs_sha256=entry["inputs_sha256"],
            parameters=sum(each.numel() for each in network.parameters()),
            provenance={
                **{key: trained.get(key) for key in ("weights", "backbone", "iteration")},
                "misfits": trained.get("misfits", []),
            },
        )
        write_score(self.experiment.folder, score)
        return Outcome(step, "done", score.summary())

    def _identity(self, training: str) -> str:
        """Hash all that the file says of a training, and of those that it starts from."""
        if training not in self._made_by:
            spec = self.experiment.spec.trainings[training]
            settings = self.experiment.settings(training).resolved()
            for key in ("device", "workers", "precision", "run", "stores"):
                settings.pop(key)
            for key, start in (("weights", spec.weights_of), ("backbone", spec.backbone_of)):
                if start is not None:  # it counts below by its identity, not by its path
                    settings.pop(key)
            about = [
                settings,
                list(spec.stores),
                [[name, self._identity(name)] for name in spec.starts_from],
            ]
            text = json.dumps(about, sort_keys=True)
            self._made_by[training] = hashlib.sha256(text.encode()).hexdigest()
        return self._made_by[training]


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except FileNotFoundError:
        raise FovealError(f"there is no {file}; run the experiment without --only") from None
