//! Tensors: descriptions from the header, checked until their bytes can be handed out.

use std::fmt;
use std::ops::Deref;

use crate::reader::{Field, Reader};
use crate::{Error, Result, TensorType, limits};

/// A tensor and its bytes in the file.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tensor<'a> {
    /// The name, unique in the file and in all parts of a split file.
    pub name: &'a str,
    /// How the weights are stored.
    pub tensor_type: TensorType,
    /// The dimensions, fastest first.
    pub shape: Shape,
    /// Where the data starts, in bytes from the start of the data section of its file.
    pub offset: u64,
    /// Where the data starts, in bytes from the start of its file.
    pub at: u64,
    /// The data: whole blocks, row after row, in the byte order of the file.
    ///
    /// Of a file on disk this is a [mapping](crate::Mapping), with its condition: whoever cannot be
    /// sure that no program cuts the file short takes [`Gguf::read`](crate::Gguf::read) instead.
    pub data: &'a [u8],
    /// The part of a split file that holds the tensor, counted from 0; 0 for an ordinary file.
    pub part: usize,
}

/// Without the data, which may be gigabytes.
impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, tensor_type, shape, offset, data, part, .. } = self;
        let bytes = data.len();
        write!(f, "{name:?} {tensor_type} {shape:?}, {bytes} bytes at {offset} of part {part}")
    }
}

/// The dimensions of a tensor in ggml's order: `[0]` is the length of a row and changes fastest.
///
/// There are 1 to 4, none is 0, and their product fits in a `u64`. A tensor that the file gives no
/// dimensions is a scalar and has shape `[1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    ne: [u64; limits::DIMENSIONS],
    len: usize,
}

impl Shape {
    /// The shape with these dimensions; `None` if the rules above are broken.
    pub fn new(dims: &[u64]) -> Option<Self> {
        let mut ne = [1; limits::DIMENSIONS];
        ne.get_mut(..dims.len())?.copy_from_slice(dims);
        let product = ne.iter().try_fold(1u64, |product, n| product.checked_mul(*n))?;
        (product > 0).then_some(Self { ne, len: dims.len().max(1) })
    }

    /// The number of weights.
    pub fn elements(&self) -> u64 {
        self.ne.iter().product()
    }

    /// The length of a row.
    pub fn cols(&self) -> u64 {
        self.ne[0]
    }

    /// The number of rows over all other dimensions.
    pub fn rows(&self) -> u64 {
        self.ne[1..].iter().product()
    }
}

impl Deref for Shape {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.ne[..self.len]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As in `3840 x 262144`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shape_text(self))
    }
}

/// A tensor as the header describes it; its data has not been looked for yet.
pub(crate) struct TensorInfo<'a> {
    pub name: &'a str,
    /// Where the description starts.
    pub at: u64,
    tensor_type: TensorType,
    shape: Shape,
    offset: u64,
    offset_at: u64,
    size: u64,
}

impl<'a> TensorInfo<'a> {
    pub(crate) fn read(r: &mut Reader<'a>, alignment: u64) -> Result<Self> {
        let at = r.at();
        let name = r.name(Field("tensor name", ""), limits::TENSOR_NAME_BYTES)?;
        let tensor = || name.to_owned();
        let shape_at = r.at();
        let shape = read_shape(r, name)?;

        let type_at = r.at();
        let id = r.u32(Field("type of tensor", name))?;
        let tensor_type =
            TensorType::from_id(id).ok_or_else(|| match TensorType::removed_name(id) {
                Some(name) => Error::RemovedTensorType { tensor: tensor(), at: type_at, id, name },
                None => Error::UnknownTensorType { tensor: tensor(), at: type_at, id },
            })?;
        let (row, block) = (shape.cols(), tensor_type.block_weights());
        if !row.is_multiple_of(block) {
            let (tensor, at, tensor_type) = (tensor(), shape_at, tensor_type.name());
            return Err(Error::PartialBlock { tensor, at, tensor_type, row, block });
        }
        let size = tensor_type.bytes_of(shape.elements()).ok_or_else(|| Error::ShapeOverflow {
            tensor: tensor(),
            at: shape_at,
            shape: shape.to_string(),
        })?;

        let offset_at = r.at();
        let offset = r.u64(Field("offset of tensor", name))?;
        if !offset.is_multiple_of(alignment) {
            let (tensor, at) = (tensor(), offset_at);
            return Err(Error::UnalignedTensor { tensor, at, offset, alignment });
        }
        Ok(Self { name, tensor_type, shape, offset, size, offset_at, at })
    }

    /// Where the tensor ends, in bytes from the start of the data section.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }

    /// Cuts the tensor's bytes out of the data section.
    pub(crate) fn locate(self, section: &Section<'a>, part: usize) -> Result<Tensor<'a>> {
        let Self { name, tensor_type, shape, offset, size, offset_at: at, .. } = self;
        let Section { data, at: data_at, file, need } = *section;
        let have = data.len() as u64;
        let end = offset.checked_add(size).filter(|end| *end <= have).ok_or_else(|| {
            let tensor = name.to_owned();
            Error::TensorOutOfRange { tensor, at, offset, size, data_at, have, file, need }
        })?;
        let data = &data[offset as usize..end as usize];
        Ok(Tensor { name, tensor_type, shape, offset, at: data_at + offset, data, part })
    }
}

/// The data of all tensors of a file.
pub(crate) struct Section<'a> {
    /// What the file has of it.
    pub data: &'a [u8],
    /// Where it starts, in bytes from the start of the file.
    pub at: u64,
    /// The length of the file in bytes.
    pub file: u64,
    /// The length that the file must have for all tensors.
    pub need: u64,
}

fn read_shape(r: &mut Reader<'_>, name: &str) -> Result<Shape> {
    let tensor = || name.to_owned();
    let at = r.at();
    let found = r.u32(Field("number of dimensions of tensor", name))?;
    if found > limits::DIMENSIONS as u32 {
        let max = limits::DIMENSIONS as u32;
        return Err(Error::TooManyDimensions { tensor: tensor(), at, found, max });
    }
    let mut ne = [1; limits::DIMENSIONS];
    let dims = &mut ne[..found as usize];
    for (index, n) in dims.iter_mut().enumerate() {
        let at = r.at();
        *n = r.u64(Field("dimension of tensor", name))?;
        if *n == 0 {
            return Err(Error::ZeroDimension { tensor: tensor(), at, index });
        }
    }
    Shape::new(dims).ok_or_else(|| Error::ShapeOverflow {
        tensor: tensor(),
        at,
        shape: shape_text(dims),
    })
}

/// Refuses tensors that share bytes. They come from one file, in any order.
pub(crate) fn check_overlap(tensors: &[Tensor<'_>]) -> Result<()> {
    let mut by_offset: Vec<_> = tensors.iter().collect();
    by_offset.sort_by_key(|t| t.offset);
    for pair in by_offset.windows(2) {
        let (other, tensor) = (pair[0], pair[1]);
        let other_end = other.offset + other.data.len() as u64;
        if other_end > tensor.offset {
            return Err(Error::OverlappingTensors {
                tensor: tensor.name.to_owned(),
                offset: tensor.offset,
                other: other.name.to_owned(),
                other_end,
            });
        }
    }
    Ok(())
}

fn shape_text(dims: &[u64]) -> String {
    dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}

/// The fewest bytes of a description: empty name, no dimensions, type, offset.
pub(crate) const INFO_BYTES_MIN: u64 = 8 + 4 + 4 + 8;
