//! Admission: bounded waiting, refusal at the door.
