"""DLPack, in and out: what lends its memory is taken wherever arrays are, and outputs are lent."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Case, case
from onnx import TensorProto
from onnx_graphs import echo

import modelserve as ms

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)
NUMPY_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
    "complex64": TensorProto.COMPLEX64,
    "complex128": TensorProto.COMPLEX128,
}


class Lender:
    """An array that is known by its DLPack methods alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **asked: Any) -> Any:
        return self.array.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class OldLender(Lender):
    """One of before there were versions."""

    def __dlpack__(self, stream: Any = None) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class DLManagedTensor(ctypes.Structure):
    _fields_ = (
        ("tensor", DLTensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NEW = ctypes.pythonapi.PyCapsule_New
NEW.restype, NEW.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# The names of capsules have to live as long as those do.
NAMES = {True: b"dltensor_versioned", False: b"dltensor"}


class Made:
    """A struct made by hand, to be given any content; counts how often it is deleted."""

    def __init__(self, array: np.ndarray, *, versioned: bool = True) -> None:
        self.array = array
        self.versioned = versioned
        self.deleted = 0
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.strides = (ctypes.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
        self.deleter = DELETER(self.delete)
        self.managed = (DLManagedTensorVersioned if versioned else DLManagedTensor)()
        if isinstance(self.managed, DLManagedTensorVersioned):
            self.managed.major, self.managed.minor = 1, 1
        self.managed.deleter = ctypes.cast(self.deleter, ctypes.c_void_p).value
        tensor = self.managed.tensor
        tensor.data = array.ctypes.data
        tensor.device_type, tensor.ndim = 1, array.ndim
        tensor.code = {"f": 2, "i": 0, "u": 1, "b": 6, "c": 5}[array.dtype.kind]
        tensor.bits, tensor.lanes = array.itemsize * 8, 1
        tensor.shape, tensor.strides = ctypes.addressof(self.shape), ctypes.addressof(self.strides)

    def delete(self, managed: int) -> None:
        assert managed == ctypes.addressof(self.managed)
        self.deleted += 1

    def __dlpack__(self, **_: Any) -> Any:
        return NEW(ctypes.addressof(self.managed), NAMES[self.versioned], None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@pytest.fixture(scope="module")
def passing() -> ms.Model:
    return ms.load(echo(x=(TensorProto.FLOAT, "y", [None, None])))


def test_rows_are_taken_where_arrays_are(iris: Case) -> None:
    model = ms.load(iris.path)
    want = model.predict_batch(iris.rows).probabilities
    wide = np.zeros((90, 8), np.float32)
    wide[::2, ::2] = iris.rows
    broadcast = np.broadcast_to(iris.rows[0], iris.rows.shape)
    readonly = iris.rows.copy()
    readonly.flags.writeable = False
    for rows in (iris.rows, np.asfortranarray(iris.rows), wide[::2, ::2], readonly):
        np.testing.assert_array_equal(model.predict_batch(Lender(rows)).probabilities, want)
    turned = model.predict_batch(Lender(iris.rows[::-1]))
    np.testing.assert_array_equal(turned.probabilities, want[::-1])
    same = model.predict_batch(Lender(broadcast)).probabilities
    np.testing.assert_array_equal(same, np.broadcast_to(want[0], want.shape))
    old = model.predict_batch(OldLender(iris.rows.copy())).probabilities
    np.testing.assert_array_equal(old, want)
    row = model.predict(Lender(iris.rows[0]))
    assert row.prediction == iris.expected["labels"][0]
    assert model.predict({"X": Lender(iris.rows[0])}).prediction == row.prediction
    by_input = model.predict_batch({"X": Lender(iris.rows)}).probabilities
    np.testing.assert_array_equal(by_input, want)
    doubles = model.predict_batch(Lender(iris.rows.astype(np.float64))).probabilities
    np.testing.assert_array_equal(doubles, want)
    unaligned = np.zeros(iris.rows.nbytes + 1, np.uint8)[1:].view(np.float32)
    unaligned = unaligned.reshape(iris.rows.shape)
    unaligned[:] = iris.rows
    np.testing.assert_array_equal(model.predict_batch(Made(unaligned)).probabilities, want)


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_every_type_goes_in_and_out(name: str) -> None:
    model = ms.load(echo(x=(NUMPY_TYPES[name], "y", [None, None])))
    given = np.array([[0, 1, 3], [1, 0, 2]]).astype(name)
    told = model.run({"x": Lender(given)})["y"]
    assert told.dtype == given.dtype
    np.testing.assert_array_equal(told, given)
    tensor = model.run_tensors({"x": given})["y"]
    assert (tensor.dtype, tensor.shape) == (name, (2, 3))
    np.testing.assert_array_equal(np.from_dlpack(tensor), given)
    np.testing.assert_array_equal(tensor.numpy(), given)
    np.testing.assert_array_equal(model.run({"x": tensor})["y"], given)


def test_the_lender_gets_its_memory_back(passing: ms.Model) -> None:
    given = FLOATS.copy()
    for kind in (Lender, OldLender):
        lender = kind(given)
        before = sys.getrefcount(given)
        passing.run({"x": lender})
        passing.predict_batch(lender)
        assert sys.getrefcount(given) == before
    for versioned in (True, False):
        made = Made(given, versioned=versioned)
        np.testing.assert_array_equal(passing.run({"x": made})["y"], given)
        assert made.deleted == 1
        # No deleter is fine: there is nothing to free.
        made.managed.deleter = None
        np.testing.assert_array_equal(passing.run({"x": made})["y"], given)
        assert made.deleted == 1


def test_offsets_and_missing_strides(passing: ms.Model) -> None:
    made = Made(FLOATS[1:])
    made.managed.tensor.data = FLOATS.ctypes.data
    made.managed.tensor.byte_offset = FLOATS.strides[0]
    np.testing.assert_array_equal(passing.run({"x": made})["y"], FLOATS[1:])
    made = Made(FLOATS)
    made.managed.tensor.strides = None
    np.testing.assert_array_equal(passing.run({"x": made})["y"], FLOATS)
    made = Made(FLOATS)
    made.shape[0], made.managed.tensor.data = 0, None
    assert passing.run({"x": made})["y"].shape == (0, 3)


def change(**fields: Any) -> Callable[[Made], None]:
    def apply(made: Made) -> None:
        for name, value in fields.items():
            setattr(made.managed.tensor, name, value)

    return apply


def shaped(*dims: int) -> Callable[[Made], None]:
    def apply(made: Made) -> None:
        made.shape[:] = dims

    return apply


def strided(*strides: int) -> Callable[[Made], None]:
    def apply(made: Made) -> None:
        made.strides[:] = strides

    return apply


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (change(ndim=-1), ms.InvalidInputError, "-1 dimensions"),
        (change(ndim=-(2**31)), ms.InvalidInputError, "dimensions"),
        (change(ndim=33), ms.LimitExceededError, "rank 33"),
        (change(ndim=2**31 - 1), ms.LimitExceededError, "rank"),
        (change(data=None), ms.InvalidInputError, "NULL"),
        (change(shape=None), ms.InvalidInputError, "NULL"),
        (change(shape=4097), ms.InvalidInputError, "aligned"),
        (change(strides=4097), ms.InvalidInputError, "aligned"),
        (shaped(-2, 3), ms.InvalidInputError, "negative"),
        (shaped(2**62, 2**62), ms.LimitExceededError, "element"),
        (strided(2**62, 1), ms.InvalidInputError, "address space"),
        (strided(-(2**63), 1), ms.InvalidInputError, "address space"),
        (change(byte_offset=2**64 - 1), ms.InvalidInputError, "address space"),
        (change(device_type=2), ms.InvalidInputError, "CUDA"),
        (change(device_type=-7), ms.InvalidInputError, "unknown"),
        (change(lanes=4), ms.InvalidInputError, "vectors"),
        (change(code=3), ms.InvalidInputError, "unknown type"),
        (change(bits=31), ms.InvalidInputError, "unknown type"),
        (change(code=0, bits=4), ms.InvalidInputError, "to a byte"),
    ],
)
def test_structs_that_lie_are_refused_and_deleted_once(
    passing: ms.Model,
    spoil: Callable[[Made], None],
    error: type[Exception],
    says: str,
    versioned: bool,
) -> None:
    made = Made(FLOATS, versioned=versioned)
    spoil(made)
    with pytest.raises(error, match=says):
        passing.run({"x": made})
    assert made.deleted == 1
    with pytest.raises(error, match=says):
        passing.predict_batch(made)
    assert made.deleted == 2


def test_another_version_is_deleted_and_not_read(passing: ms.Model) -> None:
    made = Made(FLOATS)
    assert isinstance(made.managed, DLManagedTensorVersioned)
    made.managed.major = 2
    with pytest.raises(ms.UnsupportedError, match="version 2"):
        passing.run({"x": made})
    assert made.deleted == 1
    made.managed.major, made.managed.minor = 1, 99
    np.testing.assert_array_equal(passing.run({"x": made})["y"], FLOATS)


def test_lenders_that_do_not_lend(passing: ms.Model) -> None:
    class Cuda(Lender):
        def __dlpack__(self, **_: Any) -> Any:
            raise AssertionError("it is not asked for")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    class Used(Lender):
        def __init__(self, array: np.ndarray) -> None:
            self.capsule = array.__dlpack__(max_version=(1, 0))
            np.from_dlpack(self)

        def __dlpack__(self, **_: Any) -> Any:
            return self.capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    class NoCapsule(Lender):
        def __dlpack__(self, **_: Any) -> Any:
            return 7

    class Refusing(Lender):
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("not today")

    class WithArray(Refusing):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return self.array

    for lender, says in (
        (Cuda(FLOATS), "CUDA"),
        (Used(FLOATS.copy()), "no unused capsule"),
        (NoCapsule(FLOATS), "gave a int"),
        (Refusing(FLOATS), "not today"),
    ):
        with pytest.raises(ms.InvalidInputError, match=says):
            passing.run({"x": lender})
    np.testing.assert_array_equal(passing.run({"x": WithArray(FLOATS)})["y"], FLOATS)


def test_types_that_numpy_has_not() -> None:
    for kind, code, bits, plain in (
        (TensorProto.BFLOAT16, 4, 16, np.uint16),
        (TensorProto.FLOAT8E4M3FN, 10, 8, np.uint8),
        (TensorProto.FLOAT8E5M2, 12, 8, np.uint8),
    ):
        model = ms.load(passing_of(kind))
        bits_given = np.array([0x3F, 0x40, 0x01]).astype(plain)
        made = Made(bits_given)
        made.managed.tensor.code, made.managed.tensor.bits = code, bits
        tensor = model.run_tensors({"x": made})["y"]
        assert made.deleted == 1
        assert content(tensor) == bits_given.tobytes()
        again = model.run_tensors({"x": tensor})["y"]
        assert content(again) == bits_given.tobytes()


def passing_of(kind: int) -> bytes:
    from onnx import helper

    x, y = (helper.make_tensor_value_info(n, kind, ["n"]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    opsets = [helper.make_opsetid("", 25)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())


def struct_of(capsule: Any) -> DLManagedTensorVersioned:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return DLManagedTensorVersioned.from_address(get(capsule, b"dltensor_versioned"))


def content(tensor: ms.Tensor) -> bytes:
    """What the struct of a tensor points to."""
    capsule = tensor.__dlpack__(max_version=(1, 1))
    lent = struct_of(capsule).tensor
    return ctypes.string_at(lent.data, tensor.shape[0] * ((lent.bits + 7) // 8))


def test_small_types_are_padded() -> None:
    model = ms.load(passing_of(TensorProto.INT4))
    tensor = model.run_tensors({"x": [-8, 7]})["y"]
    capsule = tensor.__dlpack__(max_version=(1, 1))
    lent = struct_of(capsule)
    assert (lent.flags, lent.tensor.code, lent.tensor.bits) == (2 | 4, 0, 4)
    assert content(tensor) == b"\x08\x07"
    assert model.run({"x": tensor})["y"].astype(int).tolist() == [-8, 7]
    with pytest.raises(BufferError, match="eight bits"):
        tensor.__dlpack__()


def test_outputs_are_lent_to_be_read(passing: ms.Model) -> None:
    tensor = passing.run_tensors({"x": FLOATS}, ["y"])["y"]
    assert tensor.__dlpack_device__() == (1, 0)
    shared = np.from_dlpack(tensor)
    own = np.from_dlpack(tensor, copy=True)
    assert not shared.flags.writeable
    assert own.ctypes.data != shared.ctypes.data
    assert np.from_dlpack(tensor).ctypes.data == shared.ctypes.data
    legacy = tensor.__dlpack__()
    assert '"dltensor"' in repr(legacy)
    for unused in (legacy, tensor.__dlpack__(max_version=(1, 0))):
        del unused
    del tensor, legacy
    np.testing.assert_array_equal(shared, FLOATS)
    np.testing.assert_array_equal(own, FLOATS)


def test_what_cannot_be_lent_says_so(passing: ms.Model) -> None:
    tensor = passing.run_tensors({"x": FLOATS})["y"]
    assert repr(tensor) == "<modelserve.Tensor float32[2, 3]>"
    for asked, says in (
        ({"stream": 1}, "stream"),
        ({"dl_device": (2, 0)}, "CPU"),
        ({"copy": False}, "not to write"),
    ):
        with pytest.raises(BufferError, match=says):
            tensor.__dlpack__(**asked)
    text = ms.load(echo(x=(TensorProto.STRING, "y", [None])))
    strings = text.run_tensors({"x": ["a", "b"]})["y"]
    assert strings.numpy().tolist() == ["a", "b"]
    with pytest.raises(BufferError, match="strings"):
        strings.__dlpack__(max_version=(1, 0))


def test_named_outputs_that_are_no_tensors_are_as_ever() -> None:
    model = ms.load(case("logistic_strings_zipmap").path)
    name = model.signature.inputs[0].name
    row = np.array([[5.9, 3.0, 5.1, 1.8]], np.float32)
    plain, tensors = model.run({name: row}), model.run_tensors({name: row})
    assert list(plain) == list(tensors)
    for key, value in tensors.items():
        if isinstance(value, ms.Tensor):
            np.testing.assert_array_equal(value.numpy(), plain[key])
        else:
            assert value == plain[key]
