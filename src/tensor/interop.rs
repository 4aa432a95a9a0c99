//! To and from `ndarray`.

use super::{Element, Shape, Tensor};
use crate::error::{Error, Result, err};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

impl Tensor {
    /// A tensor with the elements of an array view of any layout, in logical order.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn from_array_view<T: Element>(view: &ArrayViewD<'_, T>) -> Result<Tensor> {
        let data = match view.as_slice() {
            Some(slice) => slice.to_vec(),
            None => view.iter().cloned().collect(),
        };
        Tensor::new(Shape::new(view.shape())?, T::wrap(data))
    }

    /// The elements as a read-only array view; nothing is copied.
    ///
    /// # Errors
    /// `InvalidInput` when the element type is another.
    pub fn to_array_view<T: Element>(&self) -> Result<ArrayViewD<'_, T>> {
        ArrayViewD::from_shape(IxDyn(self.dims()), self.as_slice::<T>()?)
            .map_err(|e| err!(Internal, "ndarray: {e}"))
    }
}

impl<T: Element> TryFrom<ArrayD<T>> for Tensor {
    type Error = Error;

    /// Moves a standard-layout array's buffer; copies any other layout into row-major order.
    fn try_from(array: ArrayD<T>) -> Result<Tensor> {
        let shape = Shape::new(array.shape())?;
        let data = if array.is_standard_layout() {
            let (mut data, offset) = array.into_raw_vec_and_offset();
            let start = offset.unwrap_or(0);
            if start > 0 {
                data.drain(..start);
            }
            data.truncate(shape.len());
            data
        } else {
            array.iter().cloned().collect()
        };
        Tensor::new(shape, T::wrap(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn arrays_of_any_layout_keep_their_logical_order() {
        let a = Array2::from_shape_vec((2, 3), vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let t = Tensor::try_from(a.clone().reversed_axes().into_dyn()).unwrap();
        assert_eq!(t.dims(), [3, 2]);
        assert_eq!(t.as_slice::<i64>().unwrap(), [1, 4, 2, 5, 3, 6]);
        let sliced = a.slice_move(ndarray::s![1.., ..]).into_dyn();
        let t = Tensor::try_from(sliced).unwrap();
        assert_eq!(t.as_slice::<i64>().unwrap(), [4, 5, 6]);
        assert_eq!(t.to_array_view::<i64>().unwrap().shape(), [1, 3]);
    }
}
