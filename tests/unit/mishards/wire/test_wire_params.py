from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mishards.errors import Code, IllegalArgument, MalformedParams, MishardsError, RpcStatus
from mishards.kinds import IndexType, MetricType
from mishards.wire.params import SearchParams, build_params, canonical_json, find_params, parse_params, search_params
from mishards.wire.protos.milvus_pb2 import KeyValuePair

L2, HAMMING, JACCARD = MetricType.L2, MetricType.HAMMING, MetricType.JACCARD


def _pairs(text: str) -> list[KeyValuePair]:
    return [KeyValuePair(key="params", value=text)]


def _build(index_type: IndexType, text: str, metric: MetricType = L2, dimension: int = 128):
    return build_params(index_type, metric, dimension, _pairs(text))


def test_only_the_key_params_counts_and_the_last_of_several():
    pairs = [KeyValuePair(key="x", value="1"), *_pairs("{}"), *_pairs('{"a":1}'), KeyValuePair(key="y", value="2")]
    assert find_params(pairs) == '{"a":1}'
    assert find_params([]) == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nlist=3",
        "NaN",
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":"\\ud800"}',
        '{"a":' * 100_000,
        "[" * 101 + "]" * 101,
        "1" * 5000,
    ],
)
def test_what_is_not_json_is_refused_as_the_protocol_does(text):
    with pytest.raises(MalformedParams) as error:
        parse_params(text)
    assert error.value.rpc_status is RpcStatus.UNKNOWN


def test_json_that_is_no_object_has_no_parameters():
    for text in ("null", "[1]", "3", '"nlist"', "[" * 100 + "]" * 100):
        assert parse_params(text) == {}
    assert len(parse_params(json.dumps({"a": [[] for _ in range(500)]}))["a"]) == 500


@given(
    st.text(max_size=30)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_any_text_gives_an_object_that_can_be_stored_or_an_error_of_the_project(text):
    try:
        params = parse_params(text)
    except MishardsError:
        return
    assert parse_params(canonical_json(params)) == params
    canonical_json(params).encode()


def test_the_object_is_kept_as_given_and_stored_with_sorted_keys():
    params = _build(IndexType.IVF_FLAT, '{"nlist": 10.7, "more": {"b": 1, "a": "é"}}')
    assert canonical_json(params) == '{"more":{"a":"é","b":1},"nlist":10.7}'


BUILDS = [
    (IndexType.IVF_FLAT, {"nlist": (1, 65536)}),
    (IndexType.IVF_SQ8, {"nlist": (1, 65536)}),
    (IndexType.IVF_PQ, {"nlist": (1, 65536), "m": (1, 128), "nbits": (1, 16)}),
    (
        IndexType.RNSG,
        {"search_length": (10, 300), "out_degree": (5, 300), "candidate_pool_size": (50, 1000), "knng": (5, 300)},
    ),
    (IndexType.HNSW, {"M": (4, 64), "efConstruction": (8, 512)}),
    (IndexType.ANNOY, {"n_trees": (1, 1024)}),
]
RANGES = [(index_type, name, *ends) for index_type, ranges in BUILDS for name, ends in ranges.items()]


@pytest.mark.parametrize(("index_type", "ranges"), BUILDS)
@pytest.mark.parametrize("end", [0, 1])
def test_the_ends_of_every_build_range_pass(index_type, ranges, end):
    params = {name: ends[end] for name, ends in ranges.items()}
    assert _build(index_type, json.dumps(params)) == params


@pytest.mark.parametrize(("index_type", "name", "low", "high"), RANGES)
def test_a_build_parameter_that_is_missing_mistyped_or_out_of_range_is_named(index_type, name, low, high):
    good = {key: ends[0] for key, ends in dict(BUILDS)[index_type].items()}

    def refusal(params):
        with pytest.raises(MishardsError) as error:
            _build(index_type, json.dumps(params))
        return error.value

    if name != "nbits":
        missing = refusal({key: value for key, value in good.items() if key != name})
        assert str(missing) == f"Parameter list must contain: {name}"
        assert missing.code is Code.ILLEGAL_ARGUMENT
    for value, kind in [(True, "boolean"), ("1", "string"), (None, "null"), ([1], "array"), ({}, "object")]:
        mistyped = refusal(good | {name: value})
        assert str(mistyped) == f"Invalid {name}: [json.exception.type_error.302] type must be number, but is {kind}"
        assert mistyped.code is Code.ILLEGAL_ARGUMENT
    if name != "m":
        for value in (low - 1, high + 1):
            text = f"Invalid {name} value: {value}. Valid range is [{low}, {high}]"
            assert str(refusal(good | {name: value})) == text


@pytest.mark.parametrize("m", [0, 3, 129])
def test_m_must_divide_the_dimension(m):
    with pytest.raises(MishardsError) as error:
        _build(IndexType.IVF_PQ, json.dumps({"nlist": 1, "m": m}))
    assert str(error.value) == "Invalid collection dimension, dimension can not be divided by m"
    assert error.value.code is Code.ILLEGAL_DIMENSION


def test_m_must_not_be_negative():
    with pytest.raises(IllegalArgument, match=r"^Invalid m value: -2$"):
        _build(IndexType.IVF_PQ, '{"nlist": 1, "m": -2}')


def test_parameters_are_checked_in_the_protocols_order():
    with pytest.raises(MishardsError, match="contain: search_length"):
        _build(IndexType.RNSG, "{}")
    with pytest.raises(MishardsError, match="contain: nlist"):
        _build(IndexType.IVF_PQ, '{"m": 0, "nbits": 99}')
    with pytest.raises(MishardsError, match="divided by m"):
        _build(IndexType.IVF_PQ, '{"nlist": 1, "m": 0, "nbits": 99}')
    with pytest.raises(MishardsError, match="contain: M"):
        _build(IndexType.HNSW, "{}", metric=HAMMING)


def test_binary_vectors_have_only_flat_and_ivf_flat():
    assert _build(IndexType.FLAT, "[]", metric=HAMMING) == {}
    assert _build(IndexType.BIN_IVF_FLAT, '{"nlist": 4}', metric=JACCARD) == {"nlist": 4}
    with pytest.raises(MishardsError) as error:
        _build(IndexType.HNSW, '{"M": 4, "efConstruction": 8}', metric=HAMMING)
    assert str(error.value) == "Invalid index type for collection metric type"
    assert error.value.code is Code.ILLEGAL_INDEX_TYPE


def test_flat_ignores_every_build_parameter():
    assert build_params(IndexType.FLAT, L2, 8, []) == {}
    assert _build(IndexType.FLAT, '{"nlist": "x"}') == {"nlist": "x"}


@pytest.mark.parametrize(
    ("index_type", "name", "low", "high"),
    [
        (IndexType.IVF_FLAT, "nprobe", 1, 65536),
        (IndexType.BIN_IVF_FLAT, "nprobe", 1, 65536),
        (IndexType.IVF_SQ8, "nprobe", 1, 65536),
        (IndexType.IVF_PQ, "nprobe", 1, 65536),
        (IndexType.HNSW, "ef", 7, 32768),
        (IndexType.RNSG, "search_length", 10, 300),
        (IndexType.ANNOY, "search_k", -(2**63), 2**63 - 1),
    ],
)
def test_a_search_parameter_is_required_and_has_its_range(index_type, name, low, high):
    for value in (low, high):
        assert getattr(search_params(index_type, L2, 7, json.dumps({name: value})), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(IllegalArgument) as error:
            search_params(index_type, L2, 7, json.dumps({name: value}))
        assert str(error.value) == f"Invalid {name} value: {value}. Valid range is [{low}, {high}]"
    with pytest.raises(IllegalArgument, match=f"^Parameter list must contain: {name}$"):
        search_params(index_type, L2, 7, "{}")


def test_a_float_is_truncated():
    assert search_params(IndexType.IVF_FLAT, L2, 7, '{"nprobe": 10.7}').nprobe == 10
    with pytest.raises(IllegalArgument, match="Invalid nprobe value: 0"):
        search_params(IndexType.IVF_FLAT, L2, 7, '{"nprobe": 0.9}')


def test_flat_asks_for_nothing_and_keeps_everything():
    assert search_params(IndexType.FLAT, L2, 7, "{}") == SearchParams(L2, raw={})
    assert search_params(IndexType.FLAT, L2, 7, '{"nprobe": "x"}').raw == {"nprobe": "x"}


def test_an_index_that_only_other_servers_build_asks_for_nothing():
    assert search_params(IndexType.SPTAG_KDT, L2, 7, '{"nprobe": 1}').nprobe is None


def test_only_a_flat_collection_takes_another_metric():
    text = '{"metric_type": 2, "nprobe": 1}'
    assert search_params(IndexType.FLAT, L2, 7, text).metric is MetricType.IP
    assert search_params(IndexType.IVF_FLAT, L2, 7, text).metric is L2
    assert search_params(IndexType.BIN_FLAT, JACCARD, 7, '{"metric_type": 3}').metric is HAMMING


@pytest.mark.parametrize(("metric", "number"), [(L2, 4), (L2, 0), (L2, 8), (HAMMING, 1), (HAMMING, 8)])
def test_a_metric_of_the_other_kind_of_vectors_is_refused(metric, number):
    with pytest.raises(MishardsError, match=f"Invalid index metric type: {number}. ") as error:
        search_params(IndexType.FLAT, metric, 7, json.dumps({"metric_type": number}))
    assert error.value.code is Code.ILLEGAL_METRIC_TYPE


def test_consistency_travels_in_the_search_parameters():
    params = search_params(IndexType.FLAT, L2, 7, '{"consistency_level": "Bounded", "graceful_time_ms": 50}')
    assert (params.consistency_level, params.graceful_time_ms) == ("Bounded", 50)
    for level in ('"bounded"', "1", "[]"):
        with pytest.raises(IllegalArgument, match="Invalid consistency_level"):
            search_params(IndexType.FLAT, L2, 7, f'{{"consistency_level": {level}}}')
    with pytest.raises(IllegalArgument, match="Invalid graceful_time_ms value: -1"):
        search_params(IndexType.FLAT, L2, 7, '{"graceful_time_ms": -1}')


@given(
    st.sampled_from(IndexType),
    st.sampled_from(MetricType),
    st.dictionaries(
        st.sampled_from(
            [
                "nprobe",
                "ef",
                "search_k",
                "search_length",
                "metric_type",
                "consistency_level",
                "graceful_time_ms",
                "nlist",
                "m",
                "M",
                "n_trees",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.lists(st.none()),
    ),
)
def test_any_parameters_are_taken_or_refused_with_an_error_of_the_project(index_type, metric, params):
    text = json.dumps(params)
    for check in (lambda: search_params(index_type, metric, 10, text), lambda: _build(index_type, text, metric)):
        with contextlib.suppress(MishardsError):
            assert check() is not None
