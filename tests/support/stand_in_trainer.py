"""A trainer without a model: it takes orders, elects an owner and writes what a trainer writes.

Started as a job's process with a trainer's own arguments. Standard library only, so that it starts
in a fraction of a second. STAND_IN_DIR holds `modes.json` (mode by run id or attempt number, or
`default`), receives `trained.log` (one line per job that trained) and a lock file per run: a second
job that trains the same run at the same time leaves a line in `violations.log`.
"""

import argparse
import fcntl
import gzip
import hashlib
import http.client
import json
import os
import signal
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

METRICS = {
    "train_examples": 9,
    "eval_examples": 3,
    "steps": 6,
    "supervised_tokens": 120,
    "train_seconds": 1.0,
    "total_seconds": 2.0,
    "train_loss_first": 4.0,
    "train_loss_last": 2.0,
    "held_out_loss_before": 4.0,
    "held_out_loss_after": 3.0,
    "peak_memory_bytes": 1,
}


#: What a preset trains an adapter for, and at which commit; as in tuner.presets.
BASE_MODELS = {
    "mistral-7b": {
        "name": "mistralai/Mistral-7B-Instruct-v0.3",
        "revision": "c170c708c41dac9275d15a8fff4eca08d52bab71",
    },
    "smollm2-135m": {
        "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
    },
}
#: Of every preset; as in tuner.presets.
RANK, ALPHA, MODULES = 16, 32, ("q_proj", "v_proj")


class Bucket:
    def __init__(self, endpoint, name):
        self._host, self._name = urlsplit(endpoint).netloc, name

    def _call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self._host)
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()

    def read(self, name):
        path = f"/storage/v1/b/{self._name}/o/{quote(name, safe='')}?alt=media"
        status, body = self._call("GET", path)
        assert status == 200, (name, status)
        return body

    def write(self, name, content, *, create=False, **properties):
        """The new object's generation; None when it was to be created and is there already."""
        boundary = b"part-" + hashlib.sha256(content).hexdigest().encode()
        body = b"".join(
            b"--" + boundary + b"\r\nContent-Type: " + kind + b"\r\n\r\n" + part + b"\r\n"
            for kind, part in (
                (b"application/json", json.dumps({"name": name, **properties}).encode()),
                (b"application/octet-stream", content),
            )
        )
        guard = "&ifGenerationMatch=0" if create else ""
        status, reply = self._call(
            "POST",
            f"/upload/storage/v1/b/{self._name}/o?uploadType=multipart{guard}",
            body + b"--" + boundary + b"--",
            {"Content-Type": f"multipart/related; boundary={boundary.decode()}"},
        )
        if create and status == 412:
            return None
        assert status == 200, (name, status, reply)
        return int(json.loads(reply)["generation"])


def main():
    parser = argparse.ArgumentParser()
    for option in ("--run-uri", "--attempt", "--claim-id"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    bucket_name, _, prefix = options.run_uri.removeprefix("gs://").partition("/")
    bucket = Bucket(os.environ["STORAGE_EMULATOR_HOST"], bucket_name)
    attempt_prefix = f"{prefix}/attempts/{options.attempt}"
    orders = json.loads(bucket.read(f"{attempt_prefix}/job.json"))
    assert orders["claim_id"] == options.claim_id, "these are another job's orders"

    job_id = os.environ.get("CLOUD_ML_JOB_ID", "")
    owner = {"schema_version": 1, "claim_id": options.claim_id, "job_id": job_id}
    if bucket.write(f"{attempt_prefix}/owner", json.dumps(owner).encode(), create=True) is None:
        holder = json.loads(bucket.read(f"{attempt_prefix}/owner"))
        if not same_job(holder, owner):
            return 3
    with train_alone(orders["run_id"], options.attempt, job_id):
        return train(bucket, attempt_prefix, orders, job_id)


def same_job(holder, ours):
    """As in the real trainer: one claim, and not two known jobs of it."""
    holder_id = holder.get("job_id", "")
    another_job = bool(holder_id and ours["job_id"]) and holder_id != ours["job_id"]
    return holder["claim_id"] == ours["claim_id"] and not another_job


def train_alone(run_id, attempt, job_id):
    """Note that this job trains; the lock is the kernel's, so a killed job gives it up."""
    folder = Path(os.environ["STAND_IN_DIR"])
    lock = (folder / f"{run_id}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        append(folder / "violations.log", f"{run_id} {attempt}")
    append(folder / "trained.log", f"{run_id} {attempt} {job_id}")
    return lock


def append(path, line):
    with path.open("a") as file:
        file.write(line + "\n")


def train(bucket, prefix, orders, job_id):
    modes = json.loads((Path(os.environ["STAND_IN_DIR"]) / "modes.json").read_text())
    mode = modes.get(orders["run_id"]) or modes.get(str(orders["attempt"]), modes["default"])
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = {"phase": "training", "step": 1, "progressed_at": now, "at": now}
    bucket.write(f"{prefix}/metrics.jsonl", json.dumps(row).encode() + b"\n")
    if mode == "hang":
        append(Path(os.environ["STAND_IN_DIR"]) / "hanging.log", job_id)
        signal.pause()
    if mode == "no_result":
        return 1
    result = {
        "schema_version": 1,
        "run_id": orders["run_id"],
        "attempt": orders["attempt"],
        "claim_id": orders["claim_id"],
        "dataset_id": orders["dataset_id"],
        "image": os.environ.get("TUNER_IMAGE_URI"),
    }
    kind, _, message = mode.partition(":")
    if message:
        result |= {"outcome": "failed", "failure": {"kind": kind, "message": message}}
    else:
        result |= success(bucket, prefix, mode, BASE_MODELS[orders["preset"]])
    if mode == "wrong_claim":
        result["claim_id"] = "somebody-else"
    if mode == "stale_attempt":
        result["attempt"] += 1
    if mode == "wrong_run":
        result["run_id"] = "somebody-elses"
    if mode == "wrong_dataset":
        result["dataset_id"] = "0" * 64
    if mode == "wrong_image":
        result["image"] = "somebody/else@sha256:" + "1" * 64
    content = json.dumps(result).encode()
    name = orders["result_uri"].removeprefix("gs://").partition("/")[2]
    if mode == "huge_figure":
        content = content.replace(b'"train_loss_last": 2.0', b'"train_loss_last": 1e999')
    if mode == "replays_the_first":
        content = bucket.read(f"{name.rpartition('/')[0]}/1.json")
    if mode == "oversized":
        content += b" " * (1 << 20)
    if mode == "nested":
        content = b'{"invented": ' + b"[" * 100_000
    if mode == "not_utf8":
        content = content.replace(b"HuggingFaceTB", b"\xff")
    bucket.write(name, content)
    return 1 if message or mode == "ends_badly" else 0


def adapter_config(base_model, **changes):
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": list(MODULES),
        "base_model_name_or_path": base_model["name"],
        "revision": base_model["revision"],
        "bias": "none",
    }
    return json.dumps(config | changes).encode()


def adapter_weights(*, of="", rank=RANK, modules=MODULES, weight=0.5, b_weight=0.25, layers=1):
    """A safetensors file with the smallest tensors that an adapter of that rank can have.

    `of` makes two files differ.
    """
    header, data = {"__metadata__": {"format": "pt", "of": of}}, b""
    for layer in range(layers):
        for module in modules:
            for matrix, shape, value in (("A", [rank, 1], weight), ("B", [1, rank], b_weight)):
                tensor = struct.pack("<f", value) * rank
                name = f"model.layers.{layer}.self_attn.{module}.lora_{matrix}.weight"
                header[f"base_model.model.{name}"] = {
                    "dtype": "F32",
                    "shape": shape,
                    "data_offsets": [len(data), len(data) + len(tensor)],
                }
                data += tensor
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def success(bucket, prefix, mode, base_model):
    files = {
        "adapter/adapter_model.safetensors": adapter_weights(of=prefix),
        "adapter/adapter_config.json": adapter_config(base_model),
        "samples.json": b'{"schema_version": 1, "samples": []}',
    }
    weights, config = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"
    if mode == "not_a_lora":
        files[config] = adapter_config(base_model, peft_type="IA3")
    if mode == "config_of_another_rank":
        files[config] = adapter_config(base_model, r=8)
    if mode == "config_loads_a_library":
        files[config] = adapter_config(base_model, auto_mapping={"parent_library": "evil"})
    if mode == "nan_weights":
        files[weights] = adapter_weights(weight=float("nan"))
    if mode == "untrained":
        files[weights] = adapter_weights(b_weight=0.0)
    if mode == "wrong_rank":
        files[weights] = adapter_weights(rank=8)
    if mode == "wrong_modules":
        files[weights] = adapter_weights(modules=("q_proj", "k_proj"))
    if mode == "truncated_tensor":
        files[weights] = files[weights][:-4]
    if mode == "swapped_files":
        files[weights], files["samples.json"] = files["samples.json"], files[weights]
    if mode == "names_a_pickle":
        files["adapter/adapter_model.bin"] = b"x"
    if mode == "large_config":
        files[config] += b" " * (1 << 16)
    if mode == "nested_config":
        files[config] = b"[" * 60_000
    if mode == "names_the_card":
        files["run.json"] = b"{}"
    if mode == "names_another_folder":
        files["evil/x"] = b"x"
    artifacts = []
    for name, content in files.items():
        stored, properties = content, {}
        if name == weights and mode == "tampered_byte":
            stored = content[:-1] + bytes([content[-1] ^ 1])
        if name == config and mode == "packed":
            stored = content = gzip.compress(content)
            properties = {"contentEncoding": "gzip"}
        artifacts.append(
            {
                "name": name,
                "generation": bucket.write(f"{prefix}/{name}", stored, **properties),
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    if mode == "wrong_sha":
        artifacts[0]["sha256"] = "0" * 64
    if mode == "wrong_size":
        artifacts[0]["size_bytes"] += 1
    if mode == "missing_artifact":
        artifacts.pop()
    if mode == "names_one_twice":
        artifacts.append(artifacts[0])
    if mode == "another_base_model":
        base_model = base_model | {"name": "somebody/else"}
    if mode == "another_revision":
        base_model = base_model | {"revision": "0" * 40}
    if mode == "escapes_its_folder":
        artifacts[0]["name"] = "../../../latest.json"
    if mode == "too_large":
        artifacts[0]["size_bytes"] = 1 << 40
    metrics = METRICS
    if mode == "loss_did_not_fall":
        metrics = METRICS | {"held_out_loss_after": METRICS["held_out_loss_before"]}
    if mode == "replaced_artifact":
        bucket.write(f"{prefix}/adapter/adapter_model.safetensors", b"something else")
    gate = {"passed": True, "reasons": []}
    if mode == "warns":
        gate["warnings"] = ["Two replies of eight are cut short."]
    if mode == "gate_fails":
        gate = {"passed": False, "reasons": ["Held-out loss rose from 3.00 to 4.00."]}
    return {
        "outcome": "succeeded",
        "base_model": base_model,
        "artifacts": artifacts,
        "metrics": metrics,
        "gate": gate,
    }


if __name__ == "__main__":
    sys.exit(main())
