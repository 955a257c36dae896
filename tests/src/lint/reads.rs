//! The variables, functions and fields that a `JSONata` expression reads and does not define.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

/// Something that an expression reads and does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// `$name.member…`: a variable that the expression does not bind, with the plain steps after it.
    Variable(Vec<String>),
    /// `$name(…)`, not bound by the expression.
    Function(String),
    /// `name(…)`: a function's name without its `$`.
    Bare(String),
    /// `name`, `*`, `$` or `$$` where there is no object for it to be a field of.
    Input(String),
}

/// Everything that `expression` reads and does not define, in order.
pub(super) fn of(expression: &AstNode) -> Vec<Read> {
    let mut reader = Reader::default();
    reader.walk(expression, false);
    reader.reads
}

#[derive(Default)]
struct Reader {
    reads: Vec<Read>,
    /// The variables that the expression has bound so far, innermost last.
    locals: Vec<String>,
}

impl Reader {
    /// Walks `node`; `in_context` is whether it is evaluated on an object, so that it can name the object's fields.
    fn walk(&mut self, node: &AstNode, in_context: bool) {
        match node {
            AstNode::Variable(name) => self.variable(name, &[], in_context),
            AstNode::ParentVariable(_) => self.input("$$", in_context),
            AstNode::Name(name) => self.input(name, in_context),
            AstNode::Wildcard => self.input("*", in_context),
            AstNode::Descendant => self.input("**", in_context),
            AstNode::Path { steps } => self.path(steps, in_context),
            AstNode::Binary { op: BinaryOp::ColonEqual, lhs, rhs } => self.binding(lhs, rhs, in_context),
            AstNode::Binary { lhs, rhs, .. } => self.all([&**lhs, &**rhs], in_context),
            AstNode::Unary { operand, .. } => self.walk(operand, in_context),
            AstNode::Function { name, args, is_builtin } => {
                if !is_builtin {
                    self.reads.push(Read::Bare(name.clone()));
                } else if !self.locals.contains(name) {
                    self.reads.push(Read::Function(name.clone()));
                }
                self.all(args, in_context);
            }
            AstNode::Call { procedure, args } => {
                self.walk(procedure, in_context);
                self.all(args, in_context);
            }
            AstNode::Lambda { params, body, .. } => self.scoped(|reader| {
                reader.locals.extend(params.iter().cloned());
                reader.walk(body, in_context);
            }),
            AstNode::Block(items) => self.scoped(|reader| reader.all(items, in_context)),
            AstNode::Array(items) | AstNode::ArrayGroup(items) => self.all(items, in_context),
            AstNode::Object(pairs) => self.pairs(pairs, in_context),
            AstNode::ObjectTransform { input, pattern } => {
                self.walk(input, in_context);
                self.pairs(pattern, true);
            }
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.all([&**condition, &**then_branch], in_context);
                self.all(else_branch.as_deref(), in_context);
            }
            AstNode::FunctionApplication(inner) => self.walk(inner, true),
            AstNode::Sort { input, terms } => {
                self.walk(input, in_context);
                self.all(terms.iter().map(|(term, _)| term), true);
            }
            AstNode::Transform { location, update, delete } => {
                self.all([&**location, &**update], true);
                self.all(delete.as_deref(), true);
            }
            AstNode::String(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Parent(_) => {}
        }
    }

    fn all<'n>(&mut self, nodes: impl IntoIterator<Item = &'n AstNode>, in_context: bool) {
        for node in nodes {
            self.walk(node, in_context);
        }
    }

    fn pairs(&mut self, pairs: &[(AstNode, AstNode)], in_context: bool) {
        for (key, value) in pairs {
            self.all([key, value], in_context);
        }
    }

    /// The first step is evaluated in the context of the path, each later one on the result of the step before it.
    fn path(&mut self, steps: &[PathStep], in_context: bool) {
        self.scoped(|reader| {
            for (index, step) in steps.iter().enumerate() {
                match &step.node {
                    AstNode::Variable(name) => reader.variable(name, &steps[index + 1..], in_context || index > 0),
                    node => reader.walk(node, in_context || index > 0),
                }
                reader.locals.extend(step.focus.iter().chain(&step.index_var).cloned());
                for stage in &step.stages {
                    match stage {
                        Stage::Filter(filter) => reader.walk(filter, true),
                        Stage::Index(name) => reader.locals.push(name.clone()),
                        Stage::KeepArray => {}
                    }
                }
            }
        });
    }

    fn binding(&mut self, variable: &AstNode, value: &AstNode, in_context: bool) {
        let AstNode::Variable(name) = variable else { return self.all([variable, value], in_context) };
        // Only a function may use the name that it is bound to.
        if matches!(value, AstNode::Lambda { .. }) {
            self.locals.push(name.clone());
        }
        self.walk(value, in_context);
        self.locals.push(name.clone());
    }

    fn variable(&mut self, name: &str, steps: &[PathStep], in_context: bool) {
        if name.is_empty() {
            self.input("$", in_context);
        } else if !self.locals.iter().any(|local| local == name) {
            let plain = steps.iter().map_while(|step| match &step.node {
                AstNode::Name(member) => Some(member.clone()),
                _ => None,
            });
            self.reads.push(Read::Variable(std::iter::once(name.to_owned()).chain(plain).collect()));
        }
    }

    fn input(&mut self, name: &str, in_context: bool) {
        if !in_context {
            self.reads.push(Read::Input(name.to_owned()));
        }
    }

    /// Calls `walk`, and removes the variables that it binds.
    fn scoped(&mut self, walk: impl FnOnce(&mut Self)) {
        let outer = self.locals.len();
        walk(self);
        self.locals.truncate(outer);
    }
}
