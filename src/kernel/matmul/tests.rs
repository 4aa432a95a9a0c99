use crate::attribute::{Attribute, Attributes};
use crate::kernel::elementwise::tests::{assert_rows_match, rows};
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::Tensor;
use half::f16;

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    t(dims, &(0..n).map(|i| (i % 13) as f32 - 6.0).collect::<Vec<_>>())
}

/// The product of two stacks of matrices by its definition.
fn naive(
    a: &Tensor,
    b: &Tensor,
    m: usize,
    k: usize,
    n: usize,
    pairs: &[(usize, usize)],
) -> Vec<f32> {
    let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
    let mut out = vec![];
    for &(p, q) in pairs {
        for i in 0..m {
            for j in 0..n {
                let dot: f64 =
                    (0..k).map(|x| a[p * m * k + i * k + x] * b[q * k * n + x * n + j]).sum();
                out.push(dot as f32);
            }
        }
    }
    out
}

#[test]
fn products_follow_numpy() {
    let op = Op::onnx("MatMul", 13);
    let (a, b) = (counting(&[5, 30]), counting(&[30, 20]));
    let expected = t(&[5, 20], &naive(&a, &b, 5, 30, 20, &[(0, 0)]));
    assert_close(&op.run1(&[a.clone(), b.clone()]), &expected);
    assert_close(&Op::onnx("MatMul", 13).constant(&[1]).run1(&[a.clone(), b.clone()]), &expected);
    // Vectors.
    assert_eq!(op.run1(&[t(&[2], &[1f32, 2.0]), t(&[2], &[3f32, 4.0])]), t(&[], &[11f32]));
    assert_eq!(op.run1(&[counting(&[30]), b.clone()]).dims(), [20]);
    assert_eq!(op.run1(&[a.clone(), counting(&[30])]).dims(), [5]);
    // Batches broadcast.
    let (a, b) = (counting(&[2, 1, 4, 3]), counting(&[3, 3, 17]));
    let pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];
    let expected = t(&[2, 3, 4, 17], &naive(&a, &b, 4, 3, 17, &pairs));
    assert_close(&op.run1(&[a.clone(), b.clone()]), &expected);
    let doubles = |x: &Tensor| t(x.dims(), &x.to_f64_vec().unwrap());
    assert_close(&op.run1(&[doubles(&a), doubles(&b)]), &expected);
    let halves = |x: &Tensor| {
        t(x.dims(), &x.to_f32_vec().unwrap().into_iter().map(f16::from_f32).collect::<Vec<_>>())
    };
    assert_close(&op.run1(&[halves(&a), halves(&b)]), &expected);
    let flat = op.run1(&[counting(&[2, 4, 3]), counting(&[1, 3, 5])]);
    assert_eq!(flat.dims(), [2, 4, 5]);
}

#[test]
fn integers_wrap_and_shapes_are_checked() {
    let op = Op::onnx("MatMul", 13);
    let out = op.run1(&[t(&[1, 2], &[i32::MAX, 1]), t(&[2, 1], &[2i32, 3])]);
    assert_eq!(out, t(&[1, 1], &[1i32]));
    assert!(op.run(&[t(&[2], &[1f32; 2]), t(&[3], &[1f32; 3])]).is_err());
    assert!(op.run(&[t(&[], &[1f32]), t(&[1], &[1f32])]).is_err());
    assert!(op.run(&[t(&[1, 1], &[1f32]), t(&[1, 1], &[1i32])]).is_err());
    assert_eq!(op.run1(&[t::<f32>(&[2, 0], &[]), t::<f32>(&[0, 2], &[])]), t(&[2, 2], &[0f32; 4]));
    assert_eq!(op.run1(&[t::<f32>(&[0, 2], &[]), counting(&[2, 3])]).dims(), [0, 3]);
}

#[test]
fn gemm_scales_transposes_and_adds() {
    // [[1,2],[3,4]]ᵀ · [[1,0],[1,1]]ᵀ = [[1,4],[2,6]]
    let (a, b) = (t(&[2, 2], &[1f32, 2.0, 3.0, 4.0]), t(&[2, 2], &[1f32, 0.0, 1.0, 1.0]));
    let op = || {
        Op::onnx("Gemm", 13)
            .int("transA", 1)
            .int("transB", 1)
            .float("alpha", 2.0)
            .float("beta", 0.5)
    };
    for op in [op(), op().constant(&[1, 2]), op().constant(&[1])] {
        let c = t(&[2], &[2f32, 4.0]);
        let out = op.run1(&[a.clone(), b.clone(), c]);
        assert_eq!(out, t(&[2, 2], &[3f32, 10.0, 5.0, 14.0]));
        let out = op.run1(&[a.clone(), b.clone(), t(&[2, 1], &[2f32, 4.0])]);
        assert_eq!(out, t(&[2, 2], &[3f32, 9.0, 6.0, 14.0]));
        let out = op.run1(&[a.clone(), b.clone(), t(&[], &[2f32])]);
        assert_eq!(out, t(&[2, 2], &[3f32, 9.0, 5.0, 13.0]));
        assert_eq!(op.run1(&[a.clone(), b.clone()]), t(&[2, 2], &[2f32, 8.0, 4.0, 12.0]));
        assert!(op.run(&[a.clone(), b.clone(), t(&[3], &[1f32; 3])]).is_err());
    }
    let ints =
        Op::onnx("Gemm", 13).run1(&[t(&[1, 1], &[3i64]), t(&[1, 1], &[4i64]), t(&[1], &[5i64])]);
    assert_eq!(ints, t(&[1, 1], &[17i64]));
    assert!(Op::onnx("Gemm", 13).run(&[t(&[2], &[1f32; 2]), b]).is_err());
}

#[test]
fn fused_products_transpose_and_scale() {
    let op = Op::new("com.microsoft", "FusedMatMul", 1).int("transB", 1).float("alpha", 0.5);
    let (a, b) = (t(&[1, 1, 2], &[1f32, 2.0]), t(&[1, 2, 2], &[3f32, 4.0, 5.0, 6.0]));
    assert_eq!(op.run1(&[a, b]), t(&[1, 1, 2], &[5.5f32, 8.5]));
}

#[test]
fn fused_products_of_matrices_across_the_batch() {
    // A by rows, then by matrix.
    let a = t(&[2, 2, 1], &[1f32, 2.0, 3.0, 4.0]);
    let b = t(&[2, 1, 1], &[10f32, 100.0]);
    let op = |name| Op::new("com.microsoft", name, 1);
    let y = t(&[2, 2, 1], &[10f32, 30.0, 200.0, 400.0]);
    let across = op("FusedMatMul").int("transBatchA", 1);
    assert_eq!(across.run1(&[a.clone(), b.clone()]), y);
    // The same of the other operand, whose columns are rows of its transpose.
    let turned = op("FusedMatMul").int("transBatchB", 1).int("transB", 1);
    let y = t(&[2, 1, 2], &[10f32, 30.0, 200.0, 400.0]);
    assert_eq!(turned.run1(&[b.clone(), a.clone()]), y);
    // A constant matrix has no batch to lie across.
    let matrix = t(&[1, 2], &[1f32, 2.0]);
    let y = across.constant(&[1]).run1(&[a.clone(), matrix.clone()]);
    assert_eq!(y, t(&[2, 2, 2], &[1f32, 2.0, 3.0, 6.0, 2.0, 4.0, 4.0, 8.0]));
    let old = op("TransposeMatMul").int("transA", 1);
    assert_eq!(old.run1(&[matrix, t(&[1, 1], &[3f32])]), t(&[2, 1], &[3f32, 6.0]));
}

#[test]
fn a_fused_gemm_ends_with_its_activation() {
    let op = |activation: &str| {
        Op::new("com.microsoft", "FusedGemm", 1).string("activation", activation)
    };
    // The product is (−3, 4), with C (−2, 5).
    let (a, b) = (t(&[1, 1], &[1f32]), t(&[1, 2], &[-3f32, 4.0]));
    let inputs = [a.clone(), b, t(&[2], &[1f32, 1.0])];
    for constant in [&[][..], &[1, 2]] {
        let run = |op: Op| op.constant(constant).run1(&inputs);
        assert_eq!(run(op("Relu")), t(&[1, 2], &[0f32, 5.0]));
        assert_close(&run(op("LeakyRelu")), &t(&[1, 2], &[-0.02f32, 5.0]));
        let steep = op("LeakyRelu").float("activation_alpha", 0.5);
        assert_eq!(run(steep), t(&[1, 2], &[-1f32, 5.0]));
        assert_eq!(run(op("LeakyRelu").float("leaky_relu_alpha", 0.5)), t(&[1, 2], &[-1f32, 5.0]));
        let scaled = op("Relu").float("alpha", -1.0);
        assert_eq!(run(scaled), t(&[1, 2], &[4f32, 0.0]));
        let hard = op("HardSigmoid").float("activation_alpha", 0.5).float("activation_beta", 1.5);
        assert_eq!(run(hard), t(&[1, 2], &[0.5f32, 1.0]));
        assert_close(&run(op("Tanh")), &t(&[1, 2], &[-0.964_027_6f32, 0.999_909_2]));
        assert_eq!(run(op("")), t(&[1, 2], &[-2f32, 5.0]));
    }
    let narrow = [t(&[1, 1], &[1i64]), t(&[1, 2], &[-3i64, 4])];
    assert_eq!(op("Relu").run1(&narrow), t(&[1, 2], &[0i64, 4]));
    assert!(op("Other").run(&[a.clone(), a]).is_err());
}

#[test]
fn row_functions_give_the_same_bits() {
    let none = Attributes::default();
    let weights = (rows(50, 37), true);
    assert_rows_match("MatMul", 13, &none, &[(rows(9, 50), false), weights.clone()]);
    let mut attributes = Attributes::default();
    attributes.set("alpha", Attribute::Float(0.3));
    let bias = (t(&[37], rows(1, 37).as_slice::<f32>().unwrap()), true);
    let inputs = [(rows(9, 50), false), weights, bias];
    assert_rows_match("Gemm", 13, &attributes, &inputs);
    attributes.set("transB", Attribute::Int(1));
    assert_rows_match("Gemm", 13, &attributes, &[(rows(9, 37), false), (rows(50, 37), true)]);
}
