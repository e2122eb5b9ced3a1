"""A document put by any S3 client starts its run; hostile ones end in words and hold up nobody."""

import io
import time

from minio.commonconfig import Tags

PATIENCE_SECONDS = 900


def text(number: int, extra: str = "") -> bytes:
    return (
        f"# Lighthouse number {number}\n\n"
        f"The lighthouse of Marra-{number} was built by Odo Krell in 17{number % 90 + 10}. "
        f"Its lamp burns the oil of {number + 2} grey seals. "
        f"The keeper of Marra-{number} is called Ilse Vanterpool. {extra}\n"
    ).encode()


def put(client, bucket, key, data: bytes, recipe: str = "smoke"):
    tags = Tags.new_object_tags()
    tags["lift-recipe"] = recipe
    client.put_object(bucket, key, io.BytesIO(data), len(data), tags=tags)


def test_put_with_the_minio_sdk(lift, minio_client, services, tiny_model):
    put(minio_client, services["s3"]["bucket"], "sdk/minio.md", text(900))
    assert lift.wait({"sdk/minio.md"})["sdk/minio.md"]["state"] == "ready"


def test_put_with_boto3(lift, boto3_client, services, tiny_model):
    boto3_client.put_object(
        Bucket=services["s3"]["bucket"], Key="sdk/boto3.md", Body=text(901), Tagging="lift-recipe=smoke"
    )
    assert lift.wait({"sdk/boto3.md"})["sdk/boto3.md"]["state"] == "ready"


def test_thirty_at_once_then_again_then_one_edited(lift, minio_client, services, tiny_model):
    bucket = services["s3"]["bucket"]
    keys = {f"burst/{number:02d}.md" for number in range(30)}

    for number in range(30):
        put(minio_client, bucket, f"burst/{number:02d}.md", text(number))
    rows = lift.wait(keys)
    assert {row["state"] for row in rows.values()} == {"ready"}, rows
    assert len({row["adapter"] for row in rows.values()}) == 30

    adapters, runs = lift.json("adapters", "ls"), _runs(lift, services)
    for number in range(30):
        put(minio_client, bucket, f"burst/{number:02d}.md", text(number))
    time.sleep(10)
    assert lift.json("adapters", "ls") == adapters
    assert _runs(lift, services) == runs

    old = rows["burst/07.md"]["adapter"]
    put(minio_client, bucket, "burst/07.md", text(7, "In 1822 the lamp went out for nine nights."))
    seen = set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        shown = lift.json("adapters", "show", "07")
        assert shown["state"] == "active"
        seen.add(shown["name"])
        if shown["name"] != old:
            break
        time.sleep(0.5)
    assert seen == {old, shown["name"]} and shown["name"] != old
    assert len(lift.json("adapters", "ls")) == len(adapters) + 1
    assert len(_runs(lift, services)) == len(runs) + 1


HOSTILE = {
    "bad/empty.md": (b"", "failed", "empty"),
    "bad/noise.bin": (bytes(range(256)) * 40, "failed", "binary"),
    "bad/latin1.txt": ("Straße der Löwen. Ein Haus über dem Fluß.".encode("latin-1"), "failed", "encoding"),
    "bad/one-word.txt": (b"lighthouse", "failed", "word"),
    "bad/huge.txt": (b"A sentence about a whale. " * (200 * 1024 * 1024 // 26), "failed", "limit"),
    "bad/with spaces 灯台 маяк.md": (text(950), "ready", None),
}


def test_hostile_documents_end_in_words_and_hold_up_nobody(lift, minio_client, services, tiny_model):
    bucket = services["s3"]["bucket"]
    for key, (data, _, _) in HOSTILE.items():
        put(minio_client, bucket, key, data)
    wrong_tags = {"bad/recipe.md": "nonsense", "bad/path.md": "../../etc/passwd.json"}
    for key, recipe in wrong_tags.items():
        put(minio_client, bucket, key, text(952), recipe=recipe)
    put(minio_client, bucket, "good/after.md", text(951))
    rows = lift.wait({*HOSTILE, *wrong_tags, "good/after.md"})
    assert rows["good/after.md"]["state"] == "ready"
    for key, recipe in wrong_tags.items():
        assert rows[key]["state"] == "failed" and f"no recipe '{recipe}'" in rows[key]["reason"], rows[key]
    for key, (_, state, word) in HOSTILE.items():
        assert rows[key]["state"] == state, rows[key]
        if word:
            assert word in rows[key]["reason"], rows[key]


def test_key_that_climbs_is_refused_by_the_server_or_stays_inside(lift, boto3_client, services, tiny_model):
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        boto3_client.put_object(
            Bucket=services["s3"]["bucket"], Key="../climb.md", Body=text(960), Tagging="lift-recipe=smoke"
        )
    except (ClientError, ParamValidationError):
        return
    listed = boto3_client.list_objects_v2(Bucket=services["s3"]["bucket"])
    keys = {o["Key"] for o in listed.get("Contents", []) if "climb" in o["Key"]}
    if keys:
        rows = lift.wait(keys)
        assert all("/" not in (row["adapter"] or "") for row in rows.values())


def _runs(lift, services):
    """Ids of all runs of lift_document, from Airflow's own API."""
    return {
        run["dag_run_id"] for run in airflow_api(services, "dags/lift_document/dagRuns?limit=500")["dag_runs"]
    }


def airflow_api(services, path):
    import httpx

    airflow = services["airflow"]
    with httpx.Client(base_url=airflow["url"], trust_env=False, timeout=30) as client:
        token = (
            client.post("/auth/token", json={"username": airflow["user"], "password": airflow["password"]})
            .raise_for_status()
            .json()["access_token"]
        )
        return (
            client.get(f"/api/v2/{path}", headers={"Authorization": f"Bearer {token}"})
            .raise_for_status()
            .json()
        )


def test_a_run_a_document_with_a_readable_id(lift, services):
    runs = _runs(lift, services)
    assert runs
    for run in runs:
        slug, version, recipe, generation = run.rsplit("-", 3)
        assert slug and version.startswith("v") and len(recipe) == 8 and generation.startswith("g")
