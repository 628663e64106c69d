"""`xsys compare`, `drift`, `snapshot map` and `distributions` on the real model, and over HTTP."""

import csv

import httpx


def test_a_snapshot_compared_with_itself_is_one_and_reports_are_written(explained, tmp_path):
    table, page = tmp_path / "c.csv", tmp_path / "c.html"
    answer = explained.json(
        "compare", "small", "small", "--layers", "conv_head", "--csv", str(table), "--html", str(page)
    )
    side = answer["ours"]
    assert side["layers"] == ["conv_head"] and len(answer["theirs"]["layers"]) > 1
    assert abs(side["similarity"] - 1) < 1e-5 and side["alone"] == 0
    assert 0 < side["chance"] < 1 and 0 < side["ceiling"] < 1 and side["z"] > 10
    lines = list(csv.DictReader(table.open()))
    assert len(lines) == side["components"] + answer["theirs"]["components"]
    assert "What both know" in page.read_text() and "data:image/webp" in page.read_text()


def test_nothing_drifts_between_a_snapshot_and_itself(explained):
    answer = explained.json("drift", "small", "small")
    assert answer["rows"] == [] and all(layer["overlap"] == 1 for layer in answer["layers"])


def test_a_map_is_written_as_a_table_with_a_row_for_each_component(explained, tmp_path):
    out = tmp_path / "map.csv"
    explained.run("snapshot", "map", "small", "--layout", "pca", "--out", str(out))
    lines = list(csv.DictReader(out.open()))
    layers = explained.json("snapshot", "show", "small")["layers"]
    assert len(lines) == sum(layer["components"] for layer in layers)
    assert {line["layer"] for line in lines} == {layer["name"] for layer in layers}


def test_distributions_tell_each_metric_beside_its_null(explained):
    answer = explained.json("snapshot", "distributions", "small", "--layer", "conv_head")
    metrics = {one["metric"]: one for one in answer["layers"][0]["metrics"]}
    assert set(metrics) == {"clarity", "polysemanticity", "redundancy"}
    assert metrics["clarity"]["mean"] > metrics["clarity"]["null_mean"]


def test_the_map_over_http_is_not_sent_twice(served):
    headers = {"Authorization": f"Bearer {served.token()}"}
    with httpx.Client(base_url=f"{served.url}/v1", headers=headers, timeout=60) as client:
        first = client.get("/snapshots/small/map", params={"layout": "pca"})
        assert first.status_code == 200 and first.headers["content-type"] == "application/vnd.xsys.arrays"
        again = client.get(
            "/snapshots/small/map", params={"layout": "pca"}, headers={"If-None-Match": first.headers["etag"]}
        )
        assert again.status_code == 304 and again.content == b""
