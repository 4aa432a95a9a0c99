//! Which operators exist: the families' tables, collected once.

use super::{Kernel, OpSpec, reference};
use crate::error::{Result, bail, err};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Prepares a kernel from a node.
pub type Prepare = fn(&OpSpec<'_>) -> Result<Box<dyn Kernel>>;

/// One operator of a family's table.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Domain (`""` is `ai.onnx`).
    pub domain: &'static str,
    /// Operator name.
    pub op: &'static str,
    /// First opset version of the domain with this operator.
    pub since: i64,
    /// Prepares the kernel; looks at [`OpSpec::version`] where versions differ.
    pub prepare: Prepare,
}

/// An entry of `ai.onnx`.
pub const fn onnx(op: &'static str, since: i64, prepare: Prepare) -> Entry {
    Entry { domain: "", op, since, prepare }
}

/// An entry of `ai.onnx.ml`.
pub const fn ml(op: &'static str, since: i64, prepare: Prepare) -> Entry {
    Entry { domain: "ai.onnx.ml", op, since, prepare }
}

/// An entry of `com.microsoft`.
pub const fn microsoft(op: &'static str, prepare: Prepare) -> Entry {
    Entry { domain: "com.microsoft", op, since: 1, prepare }
}

/// An entry of the library's own domain. ONNX files write its operators in another form, which
/// `format::onnx` reads into this one.
pub const fn native(op: &'static str, prepare: Prepare) -> Entry {
    Entry { domain: crate::ensemble::DOMAIN, op, since: 1, prepare }
}

/// The tables of all families.
const FAMILIES: &[&[Entry]] = &[
    super::algebra::OPS,
    super::attention::OPS,
    super::bit_cast::OPS,
    super::cast::OPS,
    super::compare::OPS,
    super::concat::OPS,
    super::conv::OPS,
    super::crop_and_resize::OPS,
    super::determinant::OPS,
    super::einsum::OPS,
    super::elementwise::OPS,
    super::encode::OPS,
    super::expand::OPS,
    super::experimental::OPS,
    super::feature::OPS,
    super::gather::OPS,
    super::generate::OPS,
    #[cfg(feature = "images")]
    super::image::OPS,
    super::linear::OPS,
    super::loss::OPS,
    super::matmul::OPS,
    super::normalization::OPS,
    super::pool::OPS,
    super::quantize::OPS,
    super::random::OPS,
    super::recurrent::OPS,
    super::reduce::OPS,
    super::reshape::OPS,
    super::resize::OPS,
    super::scale::OPS,
    super::scatter::OPS,
    super::select::OPS,
    super::sequence::OPS,
    super::signal::OPS,
    super::slice::OPS,
    super::softmax::OPS,
    super::svm::OPS,
    super::text::OPS,
    super::transpose::OPS,
    super::tree::OPS,
    super::unary::OPS,
    super::vision::OPS,
];

fn table() -> &'static HashMap<(&'static str, &'static str), Entry> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Entry>> = OnceLock::new();
    TABLE.get_or_init(|| {
        FAMILIES.iter().copied().flatten().map(|e| ((e.domain, e.op), *e)).collect()
    })
}

/// Whether the operator is implemented (in any version).
pub fn supports(domain: &str, op: &str) -> bool {
    table().contains_key(&(domain, op))
}

/// Every operator with a kernel as `(domain, name)`.
pub fn operators() -> Vec<(&'static str, &'static str)> {
    table().keys().copied().collect()
}

/// Prepares the kernel for a node.
///
/// # Errors
/// `Unsupported` naming operator, domain, version and node when there is none; what the kernel
/// says otherwise.
pub fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let domain = if spec.domain.is_empty() { "ai.onnx" } else { spec.domain };
    let Some(entry) = table().get(&(spec.domain, spec.op)) else {
        bail!(
            Unsupported,
            "operator {domain}:{} (opset {}) of node '{}' is not implemented",
            spec.op,
            spec.version,
            spec.node
        );
    };
    let prepared = match spec.version >= entry.since {
        true => (entry.prepare)(spec),
        false => Err(err!(
            InvalidModel,
            "operator {domain}:{} exists from opset {}, the model is of opset {}",
            spec.op,
            entry.since,
            spec.version
        )),
    };
    prepared.map_err(|e| e.context(format_args!("node '{}'", spec.node)))
}

/// As [`prepare`], with candle's own operator in front where it has one.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_reference(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    Ok(reference::on_candle(spec, prepare(spec)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_listed_twice() {
        let listed: usize = FAMILIES.iter().map(|f| f.len()).sum();
        assert_eq!(listed, table().len());
    }
}
