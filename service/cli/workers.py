"""`edge-es workers`: who evaluates the members of a step on other machines."""

from service.cli.options import AsJson, StateDir, Url, number, print_table, show

COLUMNS = ("worker", "state", "device", ">version", ">members", ">members/s", ">failures", "reason")


def workers(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the workers that evaluate members elsewhere. Needs a running daemon."""
    from service.cli.client import get
    from service.cli.target import running

    found = get(running(state_dir, url), "/v1/workers")

    def render() -> None:
        if found["evaluator"] == "in_process":
            print('The daemon evaluates members itself; for more machines set workers.evaluator = "ray".')
            return
        if found["reason"]:
            print(f"No step is learned by the workers: {found['reason']}")
        if not found["workers"]:
            print("No worker has been heard of yet; they start with the next step.")
            return
        print_table(COLUMNS, [tuple(number(value) for value in row.values()) for row in found["workers"]])

    show(found, as_json, render)
