//! The resources of Backstop: RollbackPolicy, RollbackPoint and RollbackEvent
