//! Every cap in one place, with its default and its reason.
//!
//! A model file is somebody else's bytes and a request is somebody else's arrays: each cost that
//! either can cause is bounded by a field here, or by its own size times a stated factor.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Caps on what loading a model file may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadLimits {
    /// Size of one model file in bytes (4 GiB): it is read into memory whole.
    pub file_bytes: u64,
    /// Size of an ONNX protobuf message in bytes (2 GiB, protobuf's own limit).
    pub proto_bytes: u64,
    /// Protobuf fields and packed elements that are not tensor bytes (64 M): an empty message
    /// costs two bytes in a file and hundreds in memory.
    pub proto_messages: u64,
    /// Nodes of a graph, sub-graphs and inlined functions included (1 M).
    pub nodes: usize,
    /// How deep sub-graphs may nest (32).
    pub subgraph_depth: usize,
    /// How deep local functions may call each other (32).
    pub function_depth: usize,
    /// Attributes of one node (1,024).
    pub attributes: usize,
    /// Length of a name in bytes (4 KiB).
    pub name_bytes: usize,
    /// Bytes of all weights together (16 GiB).
    pub weight_bytes: u64,
    /// Bytes of one constant made by folding (16 MiB); a larger one is computed at run time.
    pub folded_constant_bytes: u64,
    /// Bytes of all folded constants together (256 MiB).
    pub folded_total_bytes: u64,
    /// Length of a safetensors header in bytes (100 MB, as the reference implementation).
    pub safetensors_header_bytes: usize,
    /// Tensors in one safetensors file (1 M).
    pub safetensors_tensors: usize,
    /// Files of external data beside one model (1,024).
    pub external_files: usize,
    /// Trees of one ensemble (1 M).
    pub trees: usize,
    /// Tree nodes of one ensemble (64 M).
    pub tree_nodes: usize,
    /// Depth of one tree (4,096).
    pub tree_depth: usize,
}

impl Default for LoadLimits {
    fn default() -> Self {
        LoadLimits {
            file_bytes: 4 * GIB,
            proto_bytes: 2 * GIB,
            proto_messages: 64 << 20,
            nodes: 1_000_000,
            subgraph_depth: 32,
            function_depth: 32,
            attributes: 1024,
            name_bytes: 4096,
            weight_bytes: 16 * GIB,
            folded_constant_bytes: 16 * MIB,
            folded_total_bytes: 256 * MIB,
            safetensors_header_bytes: 100_000_000,
            safetensors_tensors: 1_000_000,
            external_files: 1024,
            trees: 1_000_000,
            tree_nodes: 64 << 20,
            tree_depth: 4096,
        }
    }
}

/// Caps on what one request may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestLimits {
    /// Bytes of a request's tensors together (256 MiB).
    pub request_bytes: u64,
    /// Rows of one batch (65,536). More is a bulk job: split it.
    pub rows: usize,
    /// Bytes of intermediate and output tensors alive in one run (4 GiB).
    pub run_bytes: u64,
    /// Iterations of one Loop node (1 M).
    pub loop_iterations: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            request_bytes: 256 * MIB,
            rows: 65_536,
            run_bytes: 4 * GIB,
            loop_iterations: 1_000_000,
        }
    }
}

/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 32;
/// Most elements a tensor may have.
pub const MAX_ELEMENTS: usize = 1 << 40;
/// Most bytes a tensor may have.
pub const MAX_TENSOR_BYTES: u64 = 16 * GIB;
/// Most models of one manager.
pub const MAX_MODELS: usize = 10_000;
