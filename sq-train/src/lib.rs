//! Smart Quantization training.
