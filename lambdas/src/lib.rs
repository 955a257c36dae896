//! The Lambda functions of the analyze-video state machine.
