"""The steps of a plan, from which the time left is estimated while it runs."""

from __future__ import annotations

from ..planning.plan import Job, Plan
from ..progress import Step, Workload
from .encoder import find_pretrained


def measuring_workload(plan: Plan) -> Workload:
    """Pretraining, features and protocols of each job with missing cells, in the order in which they are done."""
    steps: list[Step] = []
    cells = 0
    images = plan.dataset_info.train_images + plan.dataset_info.test_images
    for job in plan.missing:
        title, encoder = plan.title_of(job), job.name if job.external else ""
        if job.trains and not find_pretrained(plan, job):
            steps.append(pretraining_step(plan, job, cells + 1))
        kinds = (f"features {encoder}", "features")
        steps.append(Step(title=f"{title}: features", kinds=kinds, amount=images, piece=cells + 1))
        for cell in job.missing:
            cells += 1
            kinds = (f"{cell.protocol.name} {encoder}", cell.protocol.name)
            steps.append(Step(title=f"{title}: {cell.protocol.name}", kinds=kinds, amount=1, piece=cells))
    return Workload(unit="cell", pieces=cells, steps=tuple(steps))


def pretraining_workload(plan: Plan) -> Workload:
    """The pretraining of each job whose encoder has no weights yet."""
    jobs = [job for job in plan.jobs if job.trains and not find_pretrained(plan, job)]
    steps = tuple(pretraining_step(plan, job, number) for number, job in enumerate(jobs, start=1))
    return Workload(unit="encoder", pieces=len(jobs), steps=steps)


def pretraining_step(plan: Plan, job: Job, piece: int) -> Step:
    """The step that pretrains a job's encoder."""
    kinds = (f"pretraining {job.method.name}", "pretraining")
    return Step(title=f"{plan.title_of(job)}: pretraining", kinds=kinds, amount=job.recipe.views, piece=piece)
