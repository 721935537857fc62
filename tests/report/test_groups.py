"""Which records share a table."""

from __future__ import annotations

from sslbench.bench.records.comparable import FLOOR
from sslbench.bench.report.groups import group_comparable
from tests.records.builders import accuracy_record, changed_record, failed_record


def test_only_comparable_records_share_a_group() -> None:
    """Another card, data set, encoder, preset or budget makes another group; another method or seed does not."""
    base = accuracy_record("rotnet", 0, 0.5, 0.5)
    others = [
        accuracy_record("jigsaw", 0, 0.5, 0.5, head="mlp"),
        accuracy_record("jigsaw", 0, 0.5, 0.5, views=12_000),
        accuracy_record("jigsaw", 0, 0.5, 0.5, identity={"dataset": "bb"}),
        *(
            accuracy_record("jigsaw", 0, 0.5, 0.5, cell={part: "other"})
            for part in ("dataset", "encoder", "preset", "protocol", "pretrain_dataset")
        ),
    ]
    assert len(group_comparable([base, *others])) == 1 + len(others)
    assert len(group_comparable([base, accuracy_record("jigsaw", 1, 0.5, 0.5)])) == 1


def test_the_floor_joins_every_group_it_fits() -> None:
    """An untrained encoder has no budget: it joins short and long runs."""
    floors = [accuracy_record(FLOOR, 0, 0.3, 0.2, kind="untrained", views=views) for views in (1, 2)]
    groups = group_comparable(
        [*floors, accuracy_record("rotnet", 0, 0.5, 0.5, views=1), accuracy_record("rotnet", 0, 0.6, 0.6, views=2)]
    )
    assert [len(group) for group in groups] == [3, 3]
    assert len(group_comparable(floors)) == 1


def test_a_failure_before_the_protocol_joins_its_group() -> None:
    """A run that diverged in pretraining has no card: it joins the group with its protocol settings and budget."""
    linear, mlp = (
        changed_record(accuracy_record("rotnet", 0, 0.5, 0.5, head=head), settings={"protocol": {"head": head}})
        for head in ("linear", "mlp")
    )
    lost = failed_record("swav", 0, "the loss is not finite", card={}, source={"kind": "failed"})
    lost = changed_record(lost, settings={"protocol": {"head": "mlp"}})
    groups = group_comparable([lost, linear, mlp])
    assert [[record.cell.method for record in group] for group in groups] == [["rotnet"], ["rotnet", "swav"]]
