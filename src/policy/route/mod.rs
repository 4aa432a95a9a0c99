//! Traffic: canary, shadow, promotion.
