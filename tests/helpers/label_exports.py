"""Exports as Label Studio writes them, made of the tasks that we write."""

import json

KIND = {"from_name": "answer", "to_name": "image", "type": "choices"}


def tasks_of(folder):
    return [
        task
        for file in sorted(folder.glob("tasks-*.json"))
        for task in json.loads(file.read_text(encoding="utf-8"))
    ]


def annotation(answer, who, at=0, **more):
    result = [] if answer is None else [{**KIND, "value": {"choices": [answer]}}]
    return {
        "completed_by": who, "result": result, "was_cancelled": False, "lead_time": 2.5,
        "created_at": f"2026-01-01T00:00:{at:02d}Z", "updated_at": f"2026-01-01T00:00:{at:02d}Z",
        **more,
    }  # fmt: skip


def export_of(path, tasks, say):
    """`say(n, task)` gives the annotations of task n."""
    done = [
        {"id": n + 1, "annotations": say(n, task), "data": task["data"], "project": 7}
        for n, task in enumerate(tasks)
    ]
    path.write_text(json.dumps(done), encoding="utf-8")
    return path
