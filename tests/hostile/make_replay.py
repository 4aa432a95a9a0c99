"""Makes the files of replay/ and the safetensors seeds of the fuzzer, the same bytes each time."""

import json
import os
import pathlib
import struct

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

HERE = pathlib.Path(__file__).parent
ONNX = str(HERE / "replay/onnx") + "/"
S = str(HERE / "replay/safetensors") + "/"


def w(p, n, b):
    pathlib.Path(p + n).write_bytes(b)


F = T.FLOAT


def vi(n, shape, t=F):
    return h.make_tensor_value_info(n, t, shape)


def model(nodes, inits=(), ins=None, outs=None, opset=18, ml=3, name="g"):
    g = h.make_graph(
        list(nodes),
        name,
        ins if ins is not None else [vi("x", ["N", 4])],
        outs if outs is not None else [vi("y", None)],
        list(inits),
    )
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", ml)])
    m.ir_version = 8
    return m.SerializeToString()


def i64(n, v):
    return nh.from_array(np.array(v, dtype=np.int64), n)


def f32(n, v):
    return nh.from_array(np.array(v, dtype=np.float32), n)


def N(op, i, o, **a):
    return h.make_node(op, i, o, **a)


def add(n, *a, **k):
    return w(ONNX, n + ".onnx", model(*a, **k))


w(ONNX, "empty.onnx", b"")
w(ONNX, "zeros.onnx", b"\0" * 64)
w(ONNX, "ones.onnx", b"\xff" * 64)
w(ONNX, "endless_varint.onnx", b"\x08" + b"\x80" * 40)
w(ONNX, "length_beyond_end.onnx", b"\x08\x08\x3a\xff\xff\xff\xff\x0f")
w(ONNX, "length_of_two_to_63.onnx", b"\x08\x08\x3a" + b"\xff" * 8 + b"\x7f")
w(ONNX, "group_never_ends.onnx", b"\x0b" * 1000)
w(ONNX, "no_graph.onnx", b"\x08\x08\x42\x02\x10\x12")


# nested deep graph attributes
def nested(depth):
    inner = h.make_graph([N("Identity", ["x"], ["y"])], "g", [], [vi("y", None)])
    for _ in range(depth):
        inner = h.make_graph(
            [
                N(
                    "If",
                    ["c"],
                    ["y"],
                    then_branch=inner,
                    else_branch=h.make_graph(
                        [N("Identity", ["x"], ["y"])], "e", [], [vi("y", None)]
                    ),
                )
            ],
            "g",
            [],
            [vi("y", None)],
        )
    return inner


g = nested(24)
g.input.extend([vi("x", ["N", 4]), vi("c", [], T.BOOL)])
m = h.make_model(g, opset_imports=[h.make_opsetid("", 18)])
m.ir_version = 8
w(ONNX, "if_nested_24.onnx", m.SerializeToString())


# raw nesting 400 deep: type proto sequence of sequence (TypeProto.sequence_type=4 {elem_type=1})
def ld(tag, b):
    o = bytearray()

    def v(x):
        while x >= 128:
            o.append(x & 127 | 128)
            x >>= 7
        o.append(x)

    v(tag << 3 | 2)
    v(len(b))
    return bytes(o) + b


t = ld(1, b"\x08\x01")
for _ in range(400):
    t = ld(4, ld(1, t))
w(
    ONNX,
    "type_nested_400.onnx",
    b"\x08\x08" + ld(7, ld(11, ld(1, b"x") + ld(2, t))) + ld(8, b"\x10\x12"),
)
g = b""
for _ in range(400):
    g = ld(1, ld(4, b"If") + ld(5, ld(1, b"then_branch") + ld(6, g)))
w(ONNX, "graph_nested_400.onnx", b"\x08\x08" + ld(7, g) + ld(8, b"\x10\x12"))
add(
    "cycle", [N("Add", ["x", "b"], ["a"]), N("Identity", ["a"], ["b"]), N("Identity", ["b"], ["y"])]
)
add("missing_input", [N("Add", ["x", "ghost"], ["y"])])
add("output_twice", [N("Identity", ["x"], ["y"]), N("Neg", ["x"], ["y"])])
add("output_of_nothing", [])
add("output_is_input", [], outs=[vi("x", ["N", 4])])
add("no_outputs", [N("Identity", ["x"], ["y"])], outs=[])
add("no_inputs", [N("Identity", ["c"], ["y"])], [f32("c", [1, 2])], ins=[])
add("unknown_operator", [N("Frobnicate", ["x"], ["y"])])
add("opset_99", [N("Identity", ["x"], ["y"])], opset=99)
add("opset_minus_one", [N("Identity", ["x"], ["y"])], opset=-1)
bad = T()
bad.name = "c"
bad.data_type = F
bad.dims[:] = [-1, 4]
bad.raw_data = b"\0" * 16
add("weight_negative_dim", [N("Add", ["x", "c"], ["y"])], [bad])
bad = T()
bad.name = "c"
bad.data_type = F
bad.dims[:] = [1 << 40, 1 << 40]
bad.raw_data = b"\0" * 16
add("weight_size_overflows", [N("Add", ["x", "c"], ["y"])], [bad])
bad = T()
bad.name = "c"
bad.data_type = F
bad.dims[:] = [1 << 62]
bad.raw_data = b""
add("weight_claims_exabytes", [N("Add", ["x", "c"], ["y"])], [bad])
bad = T()
bad.name = "c"
bad.data_type = F
bad.dims[:] = [4]
bad.raw_data = b"\0" * 15
add("weight_short_raw_data", [N("Add", ["x", "c"], ["y"])], [bad])
bad = T()
bad.name = "c"
bad.data_type = F
bad.dims[:] = [4]
bad.raw_data = b"\0" * 16
bad.float_data[:] = [1]
add("weight_two_kinds_of_data", [N("Add", ["x", "c"], ["y"])], [bad])
bad = T()
bad.name = "c"
bad.data_type = 77
bad.dims[:] = [4]
bad.raw_data = b"\0" * 16
add("weight_unknown_type", [N("Add", ["x", "c"], ["y"])], [bad])
for n, loc in (
    ("external_parent", "../../../../etc/passwd"),
    ("external_absolute", "/etc/passwd"),
    ("external_nul", "a\0b"),
):
    bad = T()
    bad.name = "c"
    bad.data_type = F
    bad.dims[:] = [4]
    bad.data_location = 1
    e = bad.external_data.add()
    e.key = "location"
    e.value = loc
    add(n, [N("Add", ["x", "c"], ["y"])], [bad])
big = [1 << 31, 1 << 31]
add("constant_of_shape_huge", [N("ConstantOfShape", ["s"], ["y"])], [i64("s", big)])
add("constant_of_shape_negative", [N("ConstantOfShape", ["s"], ["y"])], [i64("s", [-5])])
add("expand_huge", [N("Expand", ["c", "s"], ["y"])], [f32("c", [1]), i64("s", [1 << 20, 1 << 20])])
add("tile_huge", [N("Tile", ["x", "r"], ["y"])], [i64("r", [1 << 40, 1 << 40])])
add("pad_huge", [N("Pad", ["x", "p"], ["y"])], [i64("p", [0, 1 << 62, 0, 1 << 62])])
add("pad_negative_beyond", [N("Pad", ["x", "p"], ["y"])], [i64("p", [-9, -9, -9, -9])])
add("range_no_step", [N("Range", ["a", "b", "c"], ["y"])], [i64("a", 0), i64("b", 10), i64("c", 0)])
add(
    "range_huge",
    [N("Range", ["a", "b", "c"], ["y"])],
    [i64("a", -(2**63)), i64("b", 2**63 - 1), i64("c", 1)],
)
add("reshape_zero_and_minus", [N("Reshape", ["x", "s"], ["y"])], [i64("s", [0, -1, 0])])
add("reshape_two_minus", [N("Reshape", ["x", "s"], ["y"])], [i64("s", [-1, -1])])
add("reshape_minimum", [N("Reshape", ["x", "s"], ["y"])], [i64("s", [-(2**63)])])
add(
    "slice_extremes",
    [N("Slice", ["x", "a", "b", "c", "d"], ["y"])],
    [i64("a", [-(2**63)]), i64("b", [2**63 - 1]), i64("c", [1]), i64("d", [-(2**63)])],
)
add(
    "slice_step_zero",
    [N("Slice", ["x", "a", "b", "c", "d"], ["y"])],
    [i64("a", [0]), i64("b", [4]), i64("c", [1]), i64("d", [0])],
)
add(
    "gather_out_of_range",
    [N("Gather", ["x", "i"], ["y"], axis=1)],
    [i64("i", [2**63 - 1, -(2**63)])],
)
add("gather_axis_extreme", [N("Gather", ["x", "i"], ["y"], axis=-(2**63))], [i64("i", [0])])
add("gather_nd_deep", [N("GatherND", ["x", "i"], ["y"], batch_dims=2**62)], [i64("i", [[0, 0]])])
add("scatter_nd_out", [N("ScatterND", ["x", "i", "u"], ["y"])], [i64("i", [[9, 9]]), f32("u", [1])])
add("transpose_perm_twice", [N("Transpose", ["x"], ["y"], perm=[0, 0])])
add("transpose_perm_out", [N("Transpose", ["x"], ["y"], perm=[0, 7])])
add("concat_axis_out", [N("Concat", ["x", "x"], ["y"], axis=9)])
add(
    "split_lengths_wrong", [N("Split", ["x", "s"], ["y", "z"], axis=1)], [i64("s", [-1, 2**63 - 1])]
)
add("softmax_axis_out", [N("Softmax", ["x"], ["y"], axis=2**63 - 1)])
add("reduce_axis_twice", [N("ReduceSum", ["x", "a"], ["y"])], [i64("a", [1, 1, 1])])
add(
    "integer_division_by_zero",
    [N("Cast", ["x"], ["i"], to=T.INT64), N("Div", ["i", "z"], ["y"])],
    [i64("z", [0])],
)
add(
    "integer_division_overflows",
    [N("Div", ["a", "z"], ["y"])],
    [i64("a", [-(2**63)]), i64("z", [-1])],
)
add(
    "integer_modulo_by_zero",
    [N("Mod", ["a", "z"], ["y"])],
    [i64("a", [-(2**63), 5]), i64("z", [0])],
)
add(
    "integer_abs_minimum",
    [N("Abs", ["a"], ["b"]), N("Neg", ["a"], ["c"]), N("Add", ["b", "c"], ["y"])],
    [i64("a", [-(2**63)])],
)
add(
    "bit_shift_far",
    [N("BitShift", ["a", "b"], ["y"], direction="LEFT")],
    [nh.from_array(np.array([1], np.uint64), "a"), nh.from_array(np.array([200], np.uint64), "b")],
)
add("top_k_negative", [N("TopK", ["x", "k"], ["y", "z"])], [i64("k", [-3])])
add("top_k_huge", [N("TopK", ["x", "k"], ["y", "z"])], [i64("k", [2**62])])
add(
    "one_hot_huge",
    [N("OneHot", ["i", "d", "v"], ["y"])],
    [i64("i", [0, 1]), i64("d", [2**50]), f32("v", [0, 1])],
)
add("cum_sum_axis_out", [N("CumSum", ["x", "a"], ["y"])], [i64("a", 2**40)])
add("matmul_mismatch", [N("MatMul", ["x", "c"], ["y"])], [f32("c", np.zeros((7, 2)))])
add("gemm_rank_3", [N("Gemm", ["x", "c"], ["y"])], [f32("c", np.zeros((4, 2, 2)))])
img = [vi("x", ["N", 1, 2, 2])]
for n, a in (
    ("group_zero", {"group": 0}),
    ("stride_zero", {"strides": [0, 0]}),
    ("dilation_huge", {"dilations": [2**62, 2**62]}),
    ("pads_negative", {"pads": [-9, -9, -9, -9]}),
    ("pads_huge", {"pads": [2**62] * 4}),
):
    add(
        "conv_" + n,
        [N("Conv", ["x", "k"], ["y"], **a)],
        [f32("k", np.zeros((1, 1, 3, 3)))],
        ins=img,
    )
for n, a in (
    ("kernel_zero", {"kernel_shape": [0, 0]}),
    ("kernel_huge", {"kernel_shape": [2**40, 2**40]}),
    ("stride_zero", {"kernel_shape": [1, 1], "strides": [0, 0]}),
    ("pads_huge", {"kernel_shape": [2, 2], "pads": [2**62] * 4}),
):
    add("max_pool_" + n, [N("MaxPool", ["x"], ["y"], **a)], ins=img)
add(
    "resize_scale_huge",
    [N("Resize", ["x", "", "s"], ["y"])],
    [f32("s", [1, 1, 1e30, 1e30])],
    ins=img,
)
add(
    "resize_scale_nan",
    [N("Resize", ["x", "", "s"], ["y"])],
    [f32("s", [1, 1, np.nan, -1])],
    ins=img,
)
add("einsum_nonsense", [N("Einsum", ["x", "x"], ["y"], equation="ij,jk,->...")])
add("einsum_letters", [N("Einsum", ["x"], ["y"], equation="i" * 4000 + "->")])
add("cast_to_nothing", [N("Cast", ["x"], ["y"], to=999)])
body = h.make_graph(
    [N("Identity", ["c"], ["c2"]), N("Identity", ["v"], ["v2"])],
    "b",
    [vi("i", [], T.INT64), vi("c", [], T.BOOL), vi("v", None)],
    [vi("c2", [], T.BOOL), vi("v2", None)],
)
add(
    "loop_endless",
    [N("Loop", ["m", "t", "x"], ["y"], body=body)],
    [i64("m", 2**63 - 1), nh.from_array(np.array(True), "t")],
)
body = h.make_graph(
    [N("Identity", ["c"], ["c2"]), N("Concat", ["v", "v"], ["v2"], axis=0)],
    "b",
    [vi("i", [], T.INT64), vi("c", [], T.BOOL), vi("v", None)],
    [vi("c2", [], T.BOOL), vi("v2", None)],
)
add(
    "loop_doubles",
    [N("Loop", ["m", "t", "x"], ["y"], body=body)],
    [i64("m", 2**63 - 1), nh.from_array(np.array(True), "t")],
)
nodes = (
    [N("Concat", ["x", "x"], ["d0"], axis=1)]
    + [N("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=1) for i in range(45)]
    + [N("Identity", ["d45"], ["y"])]
)
add("doubling_45_times", nodes)
# functions calling each other
f1 = h.make_function(
    "f", "A", ["x"], ["y"], [h.make_node("B", ["x"], ["y"], domain="f")], [h.make_opsetid("f", 1)]
)
f2 = h.make_function(
    "f", "B", ["x"], ["y"], [h.make_node("A", ["x"], ["y"], domain="f")], [h.make_opsetid("f", 1)]
)
g = h.make_graph(
    [h.make_node("A", ["x"], ["y"], domain="f")], "g", [vi("x", ["N", 4])], [vi("y", None)]
)
m = h.make_model(
    g, functions=[f1, f2], opset_imports=[h.make_opsetid("", 18), h.make_opsetid("f", 1)]
)
m.ir_version = 8
w(ONNX, "functions_call_each_other.onnx", m.SerializeToString())
fs = [
    h.make_function(
        "f",
        f"F{i}",
        ["x"],
        ["y"],
        [
            h.make_node(f"F{i + 1}", ["x"], ["a"], domain="f"),
            h.make_node(f"F{i + 1}", ["a"], ["y"], domain="f"),
        ],
        [h.make_opsetid("f", 1)],
    )
    for i in range(28)
]
fs.append(
    h.make_function(
        "f", "F28", ["x"], ["y"], [h.make_node("Neg", ["x"], ["y"])], [h.make_opsetid("", 18)]
    )
)
g = h.make_graph(
    [h.make_node("F0", ["x"], ["y"], domain="f")], "g", [vi("x", ["N", 4])], [vi("y", None)]
)
m = h.make_model(g, functions=fs, opset_imports=[h.make_opsetid("", 18), h.make_opsetid("f", 1)])
m.ir_version = 8
w(ONNX, "functions_double_28_times.onnx", m.SerializeToString())


# trees
def tree(**over):
    a = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
        "n_targets": 1,
        "nodes_missing_value_tracks_true": [0, 0, 0],
    }
    a.update(over)
    a = {k: v for k, v in a.items() if v is not None}
    return [h.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **a)]


for n, o in (
    ("good", {}),
    ("self_loop", {"nodes_truenodeids": [0, 0, 0]}),
    ("child_missing", {"nodes_falsenodeids": [99, 0, 0]}),
    ("child_of_other_tree", {"nodes_treeids": [0, 1, 1]}),
    ("feature_negative", {"nodes_featureids": [-1, 0, 0]}),
    ("feature_huge", {"nodes_featureids": [2**62, 0, 0]}),
    ("target_out_of_range", {"target_ids": [0, 9]}),
    ("target_negative", {"target_ids": [0, -9]}),
    ("target_node_missing", {"target_nodeids": [1, 77]}),
    ("lengths_differ", {"nodes_values": [0.5]}),
    ("mode_unknown", {"nodes_modes": ["BRANCH_WAT", "LEAF", "LEAF"]}),
    ("targets_huge", {"n_targets": 2**62}),
    ("targets_zero", {"n_targets": 0}),
    ("targets_negative", {"n_targets": -1}),
    ("node_twice", {"nodes_nodeids": [0, 1, 1]}),
    ("shared_child", {"nodes_falsenodeids": [1, 0, 0]}),
    (
        "no_nodes",
        dict.fromkeys(
            (
                "nodes_treeids",
                "nodes_nodeids",
                "nodes_featureids",
                "nodes_modes",
                "nodes_values",
                "nodes_truenodeids",
                "nodes_falsenodeids",
                "target_treeids",
                "target_nodeids",
                "target_ids",
                "target_weights",
                "nodes_missing_value_tracks_true",
            )
        ),
    ),
    ("base_values_many", {"base_values": [1.0, 2.0, 3.0]}),
    (
        "ids_extreme",
        {
            "nodes_treeids": [-(2**63)] * 3,
            "nodes_nodeids": [2**63 - 1, -(2**63), 0],
            "nodes_truenodeids": [-(2**63), 0, 0],
            "nodes_falsenodeids": [0, 0, 0],
        },
    ),
):
    add("tree_" + n, tree(**o))


def ml(n, op, outs=("y", "z"), **a):
    add(n, [h.make_node(op, ["x"], list(outs), domain="ai.onnx.ml", **a)])


ml(
    "linear_classifier_short",
    "LinearClassifier",
    coefficients=[1.0, 2.0],
    intercepts=[0.0, 0.0, 0.0],
    classlabels_ints=[0, 1, 2],
)
ml("linear_classifier_empty", "LinearClassifier", coefficients=[0.0])
ml("linear_regressor_targets_huge", "LinearRegressor", ("y",), coefficients=[1.0], targets=2**62)
ml("linear_regressor_targets_zero", "LinearRegressor", ("y",), coefficients=[1.0], targets=0)
ml(
    "svm_vectors_wrong",
    "SVMClassifier",
    coefficients=[1.0, 2.0],
    support_vectors=[1.0, 2.0, 3.0],
    vectors_per_class=[5, -9],
    rho=[0.0],
    kernel_type="RBF",
    kernel_params=[1.0, 0.0, 0.0],
    classlabels_ints=[0, 1],
)
ml(
    "svm_vectors_extreme",
    "SVMClassifier",
    coefficients=[1.0],
    support_vectors=[1.0] * 4,
    vectors_per_class=[2**63 - 1, 1],
    rho=[0.0],
    kernel_type="POLY",
    classlabels_ints=[0, 1],
)
ml(
    "svm_regressor_supports_negative",
    "SVMRegressor",
    ("y",),
    coefficients=[1.0],
    support_vectors=[1.0],
    n_supports=-1,
    rho=[0.0],
)
ml("scaler_lengths", "Scaler", ("y",), offset=[1.0, 2.0, 3.0], scale=[1.0])
ml("feature_vectorizer_huge", "FeatureVectorizer", ("y",), inputdimensions=[2**62])
ml("array_feature_negative", "Normalizer", ("y",), norm="L9")
ml("one_hot_no_categories", "OneHotEncoder", ("y",))
ml(
    "imputer_lengths",
    "Imputer",
    ("y",),
    imputed_value_floats=[1.0, 2.0, 3.0],
    replaced_value_float=0.0,
)
ml("label_encoder_lengths", "LabelEncoder", ("y",), keys_floats=[1.0, 2.0], values_floats=[1.0])
add(
    "array_feature_extractor_out",
    [h.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")],
    [i64("i", [-1, 99])],
)
add(
    "lstm_hidden_huge",
    [N("LSTM", ["x", "w", "r"], ["y"], hidden_size=2**62)],
    [f32("w", np.zeros((1, 4, 4))), f32("r", np.zeros((1, 4, 1)))],
    ins=[vi("x", [1, "N", 4])],
)
add("non_max_suppression_odd", [N("NonMaxSuppression", ["x", "x"], ["y"])])
add("input_dim_negative", [N("Identity", ["x"], ["y"])], ins=[vi("x", [-3, 2**62])])
add("input_dim_zero", [N("Identity", ["x"], ["y"])], ins=[vi("x", ["N", 0])])
add("name_not_utf8", [N("Identity", ["x"], ["y"])])
b = pathlib.Path(ONNX + "name_not_utf8.onnx").read_bytes()
w(ONNX, "name_not_utf8.onnx", b.replace(b"Identity", b"Iden\xff\xfety"))
add(
    "sequence_at_out",
    [N("SequenceConstruct", ["x", "x"], ["s"]), N("SequenceAt", ["s", "i"], ["y"])],
    [i64("i", -99)],
)
add("string_split_odd", [N("StringNormalizer", ["x"], ["y"])])


# safetensors
def st(header, data=b"", size=None):
    b = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(b) if size is None else size) + b + data


src = (HERE.parent / "data/digits_mlp_safetensors/model.safetensors").read_bytes()
n = struct.unpack("<Q", src[:8])[0]
H = json.loads(src[8 : 8 + n])
D = src[8 + n :]


def mut(f):
    c = json.loads(json.dumps(H))
    f(c)
    return st(c, D)


key = next(k for k in H if k != "__metadata__")


def W(n, b):
    return w(S, n + ".safetensors", b)


def set_(field, val):
    return mut(lambda c: c[key].__setitem__(field, val))


W("empty", b"")
W("seven_bytes", b"\0" * 7)
W("header_size_zero", st(b""))
W("header_size_maximum", st({}, size=2**64 - 1))
W("header_beyond_end", st({}, size=1000))
W("header_not_json", st(b"{{{{"))
W("header_array", st(b"[]"))
W("header_not_utf8", st(b'{"\xff":1}'))
W("header_deep", st(b'{"a":' * 4000))
W("no_tensors", st({}))
W("offsets_turned", set_("data_offsets", [8, 0]))
W("offsets_extreme", set_("data_offsets", [0, 2**64 - 1]))
W("offsets_negative", set_("data_offsets", [-1, 8]))
W("offsets_float", set_("data_offsets", [0.5, 8]))
W("shape_overflow", set_("shape", [2**40, 2**40]))
W("shape_zero_overflow", set_("shape", [0, 2**63, 2**63]))
W("shape_negative", set_("shape", [-1]))
W("shape_scalar", set_("shape", []))
W("shape_rank_100", set_("shape", [1] * 100))
W("dtype_unknown", set_("dtype", "F7"))
W("dtype_bool", set_("dtype", "BOOL"))
W("dtype_f16", set_("dtype", "F16"))
W("tensor_missing", mut(lambda c: c.pop(key)))
W("data_cut", src[:-5])
W("data_more", src + b"123")
W(
    "overlap",
    mut(
        lambda c: [
            v.__setitem__("data_offsets", H[key]["data_offsets"])
            for k, v in c.items()
            if k != "__metadata__"
        ]
    ),
)
W(
    "name_twice",
    st(
        json.dumps(H).encode()[:-1]
        + b', "'
        + key.encode()
        + b'": '
        + json.dumps(H[key]).encode()
        + b"}",
        D,
    ),
)
W("metadata_number", mut(lambda c: c.__setitem__("__metadata__", {"a": 1})))
nan = np.frombuffer(D, np.float32).copy()
nan[::3] = np.nan
nan[1::3] = np.inf
W("weights_nan_and_infinite", src[: 8 + n] + nan.tobytes())
W("good", src)
# fuzz seeds
G = str(HERE.parent / "fuzz/seeds/safetensors_load") + "/"


def seed(name, ts):
    hd = {}
    d = b""
    for k, a in ts.items():
        a = np.asarray(a, np.float32)
        hd[k] = {
            "dtype": "F32",
            "shape": list(a.shape),
            "data_offsets": [len(d), len(d) + a.nbytes],
        }
        d += a.tobytes()
    w(G, name + ".safetensors", st(hd, d))


r = np.random.RandomState(0).randn
seed("linear", {"fc1.weight": r(3, 4), "fc1.bias": r(3)})
seed("embedding", {"e.weight": r(5, 2)})
seed("conv", {"c.weight": r(2, 1, 3, 3), "c.bias": r(2), "n.weight": r(2), "n.bias": r(2)})
seed(
    "norms",
    {
        "b.weight": r(4),
        "b.bias": r(4),
        "b.running_mean": r(4),
        "b.running_var": abs(r(4)),
        "n.weight": r(4),
        "n.bias": r(4),
    },
)
print(len(os.listdir(ONNX)), len(os.listdir(S)))
