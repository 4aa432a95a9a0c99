//! Taking a tensor apart along an axis and stacking results along one.

use crate::error::{Result, ensure};
use crate::graph::{Dim, ValueType};
use crate::kernel::Context;
use crate::kernel::cast::cast;
use crate::tensor::shape::resolve_axis;
use crate::tensor::{Carrier, Element, ElementType, Shape, Tensor, for_each_carrier};

/// The slice of `tensor` at position `at` of `axis`, without that axis.
pub(super) fn pick(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    axis: usize,
    at: usize,
) -> Result<Tensor> {
    fn gather<T: Element>(
        ctx: &mut Context<'_>,
        from: &[T],
        (outer, dim, inner): (usize, usize, usize),
        at: usize,
    ) -> Result<Vec<T>> {
        let mut out = ctx.buffer::<T>(outer * inner)?;
        for o in 0..outer {
            let start = (o * dim + at) * inner;
            out.extend_from_slice(&from[start..start + inner]);
        }
        Ok(out)
    }
    let parts = tensor.shape().split_at(axis);
    let mut dims = tensor.dims().to_vec();
    dims.remove(axis);
    for_each_carrier!(tensor.data(), v => {
        let out = gather(ctx, v, parts, at)?;
        Tensor::moved(Shape::new(&dims)?, out, tensor.dtype())
    })
}

/// Tensors of one shape and type, collected turn by turn.
#[derive(Default)]
pub(super) struct Stack {
    items: Vec<Tensor>,
    bytes: u64,
}

impl Stack {
    /// Adds one turn's result.
    pub(super) fn push(&mut self, ctx: &Context<'_>, item: Tensor) -> Result<()> {
        if let Some(first) = self.items.first() {
            ensure!(
                first.shape() == item.shape() && first.dtype() == item.dtype(),
                InvalidInput,
                "a scan output of {}{} after one of {}{}",
                item.dtype(),
                item.shape(),
                first.dtype(),
                first.shape()
            );
        }
        self.bytes = self.bytes.saturating_add(item.byte_len());
        ensure!(
            self.bytes <= ctx.limits.run_bytes,
            LimitExceeded,
            "scan outputs pass {} bytes (RequestLimits::run_bytes)",
            ctx.limits.run_bytes
        );
        self.items.push(item);
        Ok(())
    }

    /// All turns along a new axis; `reversed` puts the last turn first. Without any turn the
    /// elements are what the body declares.
    pub(super) fn finish(
        mut self,
        ctx: &mut Context<'_>,
        axis: i64,
        reversed: bool,
        declared: Option<&ValueType>,
    ) -> Result<Tensor> {
        fn join_like<T: Carrier>(
            ctx: &mut Context<'_>,
            _like: &[T],
            items: &[Tensor],
            (outer, inner): (usize, usize),
            dtype: ElementType,
        ) -> Result<Vec<T>> {
            let items =
                items.iter().map(|item| item.carried::<T>(dtype)).collect::<Result<Vec<_>>>()?;
            let mut out = ctx.buffer::<T>(items.len() * outer * inner)?;
            for o in 0..outer {
                for item in &items {
                    out.extend_from_slice(&item[o * inner..(o + 1) * inner]);
                }
            }
            Ok(out)
        }
        if reversed {
            self.items.reverse();
        }
        let Some(first) = self.items.first() else { return nothing(ctx, axis, declared) };
        let rank = first.shape().rank();
        let axis = resolve_axis(axis, rank + 1)?;
        let mut dims = first.dims().to_vec();
        dims.insert(axis, self.items.len());
        let shape = Shape::new(&dims)?;
        let outer: usize = first.dims()[..axis].iter().product();
        let inner: usize = first.dims()[axis..].iter().product();
        let dtype = first.dtype();
        for_each_carrier!(first.data(), v => {
            let out = join_like(ctx, v, &self.items, (outer, inner), dtype)?;
            Tensor::moved(shape, out, dtype)
        })
    }
}

/// No turns of what is declared along `axis`; a dimension that varies is 0, and what is not
/// declared at all is a number of f32.
fn nothing(ctx: &mut Context<'_>, axis: i64, declared: Option<&ValueType>) -> Result<Tensor> {
    let (mut dims, mut dtype) = (Vec::new(), ElementType::F32);
    if let Some(ValueType::Tensor { dtype: known, dims: declared }) = declared {
        dtype = *known;
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => *n,
            Dim::Symbol(_) | Dim::Unknown => 0,
        };
        dims.extend(declared.iter().flatten().map(size));
    }
    let axis = resolve_axis(axis, dims.len() + 1).unwrap_or(0);
    dims.insert(axis, 0);
    cast(ctx, Tensor::from_vec::<f32>(&dims, vec![])?, dtype)
}
