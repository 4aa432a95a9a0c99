//! A folder of models and versions.
