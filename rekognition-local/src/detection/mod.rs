//! Real face detection in a real video file.
