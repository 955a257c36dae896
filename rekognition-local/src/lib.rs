//! Stands in for the two Rekognition video calls that facereel makes.

pub mod detection;
pub mod model;
