use super::*;
use crate::tensor::{Complex, Data, Float6E2M3, Float8E4M3FN, Int4, Tensor, UInt2};
use half::{bf16, f16};

/// A model whose only content is that initializer, as its output.
fn holding(tensor: TensorProto) -> ModelProto {
    let mut g = graph(&[], &["t"], vec![]);
    g.initializer.push(TensorProto { name: "t".into(), ..tensor });
    model(g)
}

fn content(tensor: TensorProto) -> Tensor {
    let g = load(&holding(tensor)).unwrap();
    g.value(g.outputs[0]).constant.clone().unwrap()
}

fn raw(data_type: i32, dims: &[i64], data: &[u8]) -> TensorProto {
    TensorProto {
        data_type,
        dims: dims.to_vec(),
        raw_data: data.to_vec().into(),
        ..TensorProto::default()
    }
}

#[test]
fn every_element_type_is_read_from_raw_bytes() {
    let cases: [(i32, &[u8], Data); 13] = [
        (1, &[0, 0, 0x80, 0x3f], Data::F32(vec![1.0])),
        (2, &[200], Data::U8(vec![200])),
        (3, &[0xff], Data::I8(vec![-1])),
        (4, &[1, 2], Data::U16(vec![513])),
        (5, &[0xfe, 0xff], Data::I16(vec![-2])),
        (6, &[0xfd, 0xff, 0xff, 0xff], Data::I32(vec![-3])),
        (7, &[1, 0, 0, 0, 0, 0, 0, 0x80], Data::I64(vec![i64::MIN + 1])),
        (9, &[1], Data::Bool(vec![true])),
        (10, &[0, 0x3c], Data::F16(vec![f16::from_f32(1.0)])),
        (11, &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f], Data::F64(vec![1.0])),
        (12, &[1, 0, 0, 0x80], Data::U32(vec![0x8000_0001])),
        (13, &[1, 0, 0, 0, 0, 0, 0, 0x80], Data::U64(vec![0x8000_0000_0000_0001])),
        (16, &[0x80, 0x3f], Data::BF16(vec![bf16::from_f32(1.0)])),
    ];
    for (data_type, bytes, expected) in cases {
        assert_eq!(content(raw(data_type, &[1], bytes)).data(), &expected);
    }
}

#[test]
fn every_element_type_is_read_from_its_typed_field() {
    let t = |data_type| TensorProto { data_type, dims: vec![1], ..TensorProto::default() };
    let int = |data_type, v| TensorProto { int32_data: vec![v], ..t(data_type) };
    let cases = [
        (TensorProto { float_data: vec![1.5], ..t(1) }, Data::F32(vec![1.5])),
        (int(2, 200), Data::U8(vec![200])),
        (int(3, -1), Data::I8(vec![-1])),
        (int(4, 65535), Data::U16(vec![65535])),
        (int(5, -2), Data::I16(vec![-2])),
        (int(6, i32::MIN), Data::I32(vec![i32::MIN])),
        (TensorProto { int64_data: vec![i64::MIN], ..t(7) }, Data::I64(vec![i64::MIN])),
        (
            TensorProto { string_data: vec!["é".as_bytes().into()], ..t(8) },
            Data::String(vec!["é".into()]),
        ),
        (int(9, 1), Data::Bool(vec![true])),
        (int(10, 0xbc00), Data::F16(vec![f16::from_f32(-1.0)])),
        (TensorProto { double_data: vec![0.1], ..t(11) }, Data::F64(vec![0.1])),
        (TensorProto { uint64_data: vec![7], ..t(12) }, Data::U32(vec![7])),
        (TensorProto { uint64_data: vec![u64::MAX], ..t(13) }, Data::U64(vec![u64::MAX])),
        (int(16, 0x3f80), Data::BF16(vec![bf16::from_f32(1.0)])),
    ];
    for (proto, expected) in cases {
        assert_eq!(content(proto).data(), &expected);
    }
}

#[test]
fn small_elements_share_bytes() {
    let typed = |data_type: i32, dims: &[i64], entries: &[i32]| TensorProto {
        int32_data: entries.to_vec(),
        ..raw(data_type, dims, &[])
    };
    // The first element in the lowest bits.
    let ints = Tensor::from_vec(&[3], [1, -1, 3].map(Int4::wrapping).to_vec()).unwrap();
    assert_eq!(content(raw(22, &[3], &[0xf1, 0x03])), ints);
    assert_eq!(content(typed(22, &[3], &[0xf1, 0x03])), ints);
    let twos = Tensor::from_vec(&[5], [0, 1, 2, 3, 1].map(UInt2::wrapping).to_vec()).unwrap();
    assert_eq!(content(raw(25, &[5], &[0b11_10_01_00, 0b01])), twos);
    let eight = Tensor::from_vec(&[1], vec![Float8E4M3FN::from_f32(448.0, true)]).unwrap();
    assert_eq!(content(raw(17, &[1], &[0x7e])), eight);
    assert_eq!(content(typed(17, &[1], &[0x7e])), eight);
    // Six bits: four elements in three bytes of raw data, an entry each otherwise.
    let six = Tensor::from_vec(&[2], [1, 33].map(Float6E2M3::from_bits).to_vec()).unwrap();
    assert_eq!(content(raw(27, &[2], &[0x41, 0x08])), six);
    assert_eq!(content(typed(27, &[2], &[1, 33])), six);
    let pair = TensorProto { float_data: vec![1.0, -2.0], ..raw(14, &[1], &[]) };
    let complex = Tensor::from_vec(&[1], vec![Complex { re: 1f32, im: -2.0 }]).unwrap();
    assert_eq!(content(pair), complex);
}

#[test]
fn scalars_and_empty_tensors_are_legal() {
    assert_eq!(content(raw(1, &[], &[0; 4])).dims(), [0usize; 0]);
    assert_eq!(content(raw(1, &[2, 0, 3], &[])).dims(), [2, 0, 3]);
    assert_eq!(content(raw(8, &[0], &[])).len(), 0);
}

#[test]
fn what_does_not_fit_its_shape_or_type_is_refused() {
    use ErrorKind::{InvalidModel, LimitExceeded, Unsupported};
    let both = TensorProto { float_data: vec![1.0], ..raw(1, &[1], &[0; 4]) };
    let wrong_field = TensorProto { int32_data: vec![1], ..raw(1, &[1], &[]) };
    let too_wide = TensorProto { int32_data: vec![256], ..raw(2, &[1], &[]) };
    let bad_text = TensorProto { string_data: vec![vec![0xff].into()], ..raw(8, &[1], &[]) };
    let segment =
        TensorProto { segment: Some(Segment { begin: 0, end: 1 }), ..raw(1, &[1], &[0; 4]) };
    let long = TensorProto { float_data: vec![1.0; 3], ..raw(1, &[2], &[]) };
    for (proto, kind, word) in [
        (raw(1, &[2], &[0; 4]), InvalidModel, "4 bytes of data"),
        (raw(1, &[1], &[0; 5]), InvalidModel, "5 bytes of data"),
        (raw(1, &[1], &[]), InvalidModel, "0 elements in float_data"),
        (long, InvalidModel, "3 elements"),
        (both, InvalidModel, "both raw_data and float_data"),
        (wrong_field, InvalidModel, "int32_data"),
        (too_wide, InvalidModel, "256 does not fit uint8"),
        (bad_text, InvalidModel, "UTF-8"),
        (raw(8, &[1], &[65]), InvalidModel, "strings"),
        (segment, Unsupported, "segments"),
        (raw(0, &[1], &[0]), InvalidModel, "no element type"),
        (raw(22, &[3], &[0]), InvalidModel, "1 bytes of data"),
        (raw(27, &[4], &[0; 4]), InvalidModel, "4 bytes of data"),
        (raw(99, &[1], &[0]), Unsupported, "number 99"),
        (raw(1, &[-1], &[]), InvalidModel, "negative"),
        (raw(1, &[1 << 31, 1 << 31], &[]), LimitExceeded, "elements"),
        (raw(1, &[1 << 32, 1 << 32], &[]), LimitExceeded, "elements"),
        (raw(1, &[i64::MAX, 2, 0], &[]), LimitExceeded, "elements"),
        (raw(1, &[1; 1_000_000], &[0; 4]), LimitExceeded, "rank"),
    ] {
        assert_refused(&holding(proto), kind, &["'t'", word]);
    }
    let limits = LoadLimits { weight_bytes: 7, ..LoadLimits::default() };
    let e = load_with(&holding(raw(1, &[2], &[0; 8])), &limits).unwrap_err();
    assert_eq!(e.kind(), LimitExceeded);
}

#[test]
fn weights_that_are_no_numbers_load_and_are_reported() {
    let g = load(&holding(floats("", &[2], &[f32::NAN, 1.0]))).unwrap();
    assert_eq!(g.metadata["non_finite_weights"], "t");
    assert!(!load(&small()).unwrap().metadata.contains_key("non_finite_weights"));
}

#[test]
fn sparse_initializers_become_dense_within_their_limit() {
    let sparse = SparseTensorProto {
        values: Some(floats("s", &[1], &[4.0])),
        indices: Some(TensorProto {
            data_type: 7,
            dims: vec![1],
            int64_data: vec![2],
            ..TensorProto::default()
        }),
        dims: vec![2, 2],
    };
    let mut g = graph(&[], &["s"], vec![]);
    g.sparse_initializer.push(sparse.clone());
    let loaded = load(&model(g.clone())).unwrap();
    let dense = loaded.value(loaded.outputs[0]).constant.clone().unwrap();
    assert_eq!(dense, Tensor::from_vec(&[2, 2], vec![0f32, 0.0, 4.0, 0.0]).unwrap());
    g.sparse_initializer = vec![SparseTensorProto { dims: vec![1 << 30, 4], ..sparse }];
    assert_refused(&model(g), ErrorKind::LimitExceeded, &["'s'"]);
}

#[cfg(unix)]
mod external {
    use super::*;

    /// A folder with a model that has `tensors`, and eight bytes beside it.
    struct Beside(std::path::PathBuf);

    impl Beside {
        fn new(test: &str) -> Beside {
            let path = std::env::temp_dir().join(format!("external-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("w.bin"), [0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]).unwrap();
            Beside(path)
        }

        fn load(&self, tensors: Vec<TensorProto>) -> Result<Graph> {
            let mut g = graph(&[], &[], vec![]);
            g.initializer = tensors;
            let path = self.0.join("model.onnx");
            std::fs::write(&path, bytes(&model(g))).unwrap();
            let limits = LoadLimits::default();
            let source = Source::open(&path, &limits).unwrap();
            crate::format::onnx::import(&source, &limits, &mut Problems::default())
        }
    }

    impl Drop for Beside {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn at(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(k, v): &(&str, &str)| StringStringEntryProto {
            key: k.to_string(),
            value: v.to_string(),
        };
        TensorProto {
            data_location: 1,
            external_data: entries.iter().map(entry).collect(),
            name: name.into(),
            ..raw(1, dims, &[])
        }
    }

    #[test]
    fn ranges_of_files_are_read_and_shared() {
        let beside = Beside::new("shared");
        let g = beside
            .load(vec![
                at("a", &[2], &[("location", "w.bin")]),
                at("b", &[1], &[("location", "w.bin"), ("offset", "4"), ("length", "4")]),
                at("c", &[2, 1], &[("location", "w.bin"), ("checksum", "x")]),
            ])
            .unwrap();
        let tensor = |i: usize| g.values[i].constant.as_ref().unwrap().as_slice::<f32>().unwrap();
        assert_eq!(tensor(0), [1.0, 2.0]);
        assert_eq!(tensor(1), [2.0]);
        assert_eq!(tensor(0).as_ptr(), tensor(2).as_ptr());
    }

    #[test]
    fn places_that_are_malformed_or_outside_are_refused() {
        let beside = Beside::new("refused");
        let l = ("location", "w.bin");
        for (dims, entries, kind) in [
            (2, vec![], ErrorKind::InvalidModel),
            (2, vec![("location", "")], ErrorKind::InvalidModel),
            (2, vec![("location", "../w.bin")], ErrorKind::PermissionDenied),
            (2, vec![("location", "/etc/passwd")], ErrorKind::PermissionDenied),
            (2, vec![("location", "nothing")], ErrorKind::NotFound),
            (2, vec![l, l], ErrorKind::InvalidModel),
            (2, vec![l, ("__class__", "x")], ErrorKind::InvalidModel),
            (2, vec![l, ("offset", "-1")], ErrorKind::InvalidModel),
            (2, vec![l, ("offset", "+1")], ErrorKind::InvalidModel),
            (2, vec![l, ("offset", "99999999999999999999")], ErrorKind::InvalidModel),
            (2, vec![l, ("offset", "18446744073709551615")], ErrorKind::InvalidModel),
            (2, vec![l, ("offset", "1")], ErrorKind::InvalidModel),
            (3, vec![l], ErrorKind::InvalidModel),
            (2, vec![l, ("length", "4")], ErrorKind::InvalidModel),
            (2, vec![l, ("length", "1125899906842624")], ErrorKind::InvalidModel),
        ] {
            let e = beside.load(vec![at("far", &[dims], &entries)]).unwrap_err();
            assert_eq!(e.kind(), kind, "{entries:?}: {e}");
            assert!(e.to_string().contains("'far'") && e.to_string().contains("model.onnx"), "{e}");
        }
        let mut both = at("far", &[1], &[l]);
        both.raw_data = vec![0; 4].into();
        assert_eq!(beside.load(vec![both]).unwrap_err().kind(), ErrorKind::InvalidModel);
    }
}
