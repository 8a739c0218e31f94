"""The dry run beside what a controller really does: specs that vanished, a broken ledger, whose specs are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.specs import tombstones

if TYPE_CHECKING:
    from tests.support.world import World

NOT_YET = 2


def test_a_plan_without_the_spec_file_is_to_stop(world: World) -> None:
    """As the controller would; the others stay as they are."""
    for name in ("one", "two", "three"):
        world.light(name)
    world.run("run", "--once")
    world.specs.joinpath("two.yaml").unlink()

    everything = world.run("plan", code=NOT_YET)
    by_name = world.run("plan", "two", code=NOT_YET)
    world.run("run", "--once")

    assert everything.count("stop ") == 2
    assert "two\n  stop bridge" in everything
    assert by_name.startswith("two\n  stop bridge")
    assert world.status("two")["actual"] == "stopped"
    assert "two\n  nothing to do" in world.run("plan")


def test_a_plan_stops_nothing_that_a_person_has_to_confirm(world: World) -> None:
    """When all specs vanish at once; once it is confirmed, they are stopped."""
    for name in ("one", "two"):
        world.light(name)
    world.run("run", "--once")
    for name in ("one", "two"):
        world.specs.joinpath(f"{name}.yaml").unlink()

    held = world.run("plan", code=NOT_YET)
    for name in ("one", "two"):
        tombstones.confirm_missing(world.home, name)
    confirmed = world.run("plan", code=NOT_YET)

    assert "stop " not in held
    assert held.count("then waits (SpecMissing): cannot find 2 of 2 spec files") == 2
    assert "opencode-manager confirm-missing" in held
    assert confirmed.count("stop agent") == 2


def test_a_dry_run_leaves_a_broken_ledger_where_it_is(world: World) -> None:
    """To set it aside is the controller's."""
    world.light("app")
    ledger = world.home.sandbox("app").ledger
    ledger.parent.mkdir(mode=0o700)
    ledger.write_text("{broken")

    world.run("plan", code=NOT_YET)

    assert [path.name for path in ledger.parent.iterdir()] == ["ledger.json"]
    assert ledger.read_text() == "{broken"


def test_a_plan_is_of_the_specs_of_the_running_controller(world: World) -> None:
    """As every other frontend does; the output says when another folder was meant."""
    world.light("app")
    world.start()
    world.ready("app")
    world.root.joinpath("other").mkdir()

    output = world.run("--specs", str(world.root / "other"), "plan")

    assert f"note: these are the specs of the running controller, in {world.specs}" in output
    assert "app\n  nothing to do" in output


def test_no_name_of_a_plan_leads_anywhere_else(world: World) -> None:
    """It is told by the names there are; a folder that is not there is an error, not a plan of nothing."""
    world.light("app")
    world.root.joinpath("x.yaml").write_text(f"git: {{url: {world.origin}}}\n")

    assert world.run("plan", "../x", code=1).startswith("cannot use '../x' as a project name: ")
    assert "did you mean app?" in world.run("plan", "ap", code=1)
    nowhere = world.run("--specs", str(world.root / "nowhere"), "plan", code=1)
    assert nowhere.startswith("cannot read the specs folder ")
    assert "--specs" in nowhere
