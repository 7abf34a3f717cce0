"""Which run a text means: never another one than was named, and never one that takes another's place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.events import Failed, Finished
from core.runs import supervisor
from core.runs.directory import RunDirectory, RunError
from tests.tui.made_runs import T0, make_run, story, write


def finished(name: str, run_id: str, backend: str = "local") -> RunDirectory:
    run = make_run(name, run_id=run_id)
    run.write_meta(replace(run.meta, backend=backend))
    write(run, [*story(10, 10), Finished(time=T0 + 99, step=10, model="model")])
    return run


def test_a_name_in_the_trash_is_not_taken_for_the_beginning_of_another() -> None:
    finished("killme", "killme-a1")
    finished("killme2", "killme2-b2")
    assert supervisor.get("killme2-b").name == "killme2"  # a beginning of one id
    supervisor.delete("killme")
    for ref in ("killme", "killme-a1"):
        with pytest.raises(RunError, match="is in the trash") as refused:
            supervisor.get(ref)
        assert f"finetui restore {ref}" in refused.value.next_step
    assert supervisor.restore("killme").id == "killme-a1"
    assert supervisor.get("killme").id == "killme-a1"


def test_what_costs_takes_no_beginnings() -> None:
    finished("lamp", "lamp-a1")
    assert supervisor.get("la").id == "lamp-a1"
    assert supervisor.get("lamp", whole=True).id == supervisor.get("lamp-a1", whole=True).id == "lamp-a1"
    with pytest.raises(RunError, match="only the beginning") as refused:
        supervisor.get("lamp-a", whole=True)
    assert "lamp-a1" in refused.value.next_step


def test_a_name_that_another_run_has_is_refused() -> None:
    cls, _ = finished("cls", "cls-a1"), finished("dpo", "dpo-b2")
    for taken in ("dpo", "dpo-b2"):
        with pytest.raises(RunError, match="another run called") as refused:
            supervisor.rename("cls", taken)
        assert "dpo-b2" in refused.value.cause and "finetui rename dpo-b2" in refused.value.next_step
    assert cls.meta.name == "cls" and supervisor.get("dpo").id == "dpo-b2"
    assert supervisor.rename("cls", "cls").name == "cls"  # its own it may keep
    supervisor.delete("dpo")
    assert supervisor.rename("cls", "dpo").id == "cls-a1"


def test_next_steps_of_a_finished_run_can_be_taken() -> None:
    finished("here", "here")
    finished("far", "far", "azure")
    with pytest.raises(RunError) as refused:
        supervisor.ask("here", "change", name="learning_rate", value=1e-5)
    assert "resume" not in refused.value.next_step and "finetui train" in refused.value.next_step
    for verb in (supervisor.stop, supervisor.pause):
        with pytest.raises(RunError) as refused:
            verb("far")
        assert "finetui azure deploy far" in refused.value.next_step
        with pytest.raises(RunError) as refused:
            verb("here")
        assert "finetui chat here" in refused.value.next_step


def test_a_run_without_a_model_says_what_helps() -> None:
    failed = make_run("failed")
    write(failed, [Failed(time=T0, what="Row 3 is broken.", cause="", next_step="Mend row 3.", step=0)])
    why, way_on = supervisor.get("failed").without_model
    assert "Row 3 is broken." in why and way_on == "Mend row 3."
