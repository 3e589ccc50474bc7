"""Which code can decide a result: the key of a result holds a hash of all the code that it can have come through.

The unit is a definition at the top of a module of this package: a function, a class, or an assignment. From the
functions and classes that make a result, every global name that a definition uses is followed, through imports, to the
definition that it stands for; a class brings all its methods, and a module that is used as a value brings all that it
has. Objects make results too, so their classes belong to what is named. Of other packages the version counts.

Left out is what cannot change a number: in which file a definition stands and where that is imported; comments,
docstrings and layout; the words of errors and warnings; how progress is shown (bars, statements that call `note`,
arguments `progress=`), how work is dealt to processes, and how files are written and read, which come back bit for bit
or not at all; what only refuses: an `if` that does nothing but raise, and the checks of `arguments`, which give a value
back as it was or not at all; and whatever nothing on the way refers to, such as figures.

An annotation in quotes, as in `x: "np.ndarray"`, is for type checkers and counts for nothing, nor does what is under
`if TYPE_CHECKING:`. One without quotes counts, and the names in it are followed: `member: Member` says which class's
code comes in with an argument. In the body of a class all annotations count, because dataclasses read them.
"""

import ast
import copy
import functools
import hashlib
import json
import symtable
from importlib import metadata

from vaept.companion.places import PACKAGE

NAME = "vaept"
PLUMBING = ("progress", "processes", "cluster", "files")  # modules that only show, deal out or keep
BARS = ("bar",)  # calls that show progress; only what they iterate over counts
CHECKS = ("vaept.arguments", None)  # calls of this module refuse, or give their first argument back


@functools.cache
def source_hash(*roots, versions=True):
    """SHA-256, in hexadecimal digits, of the code that these can reach.

    Parameters
    ----------
    roots : functions and classes of this package, or str
        A str is Python source, as of a notebook, all of which counts.
    versions : bool
        Whether the versions of the other packages that it uses count too.
    """
    code, packages = reached(*roots)
    rows = sorted((str(name), hashlib.sha256(text.encode()).hexdigest()) for (_, name), text in code.items() if text)
    found = sorted((name, version) for name in packages if (version := _version(name))) if versions else []
    return hashlib.sha256(json.dumps([rows, found]).encode()).hexdigest()


def reached(*roots):
    """The definitions that these can reach: a dict from (module, name) to bare code, and a set of other packages.

    Roots are as for `source_hash`, or tuples (module, name).
    """
    code, packages, queue = {}, set(), []
    for number, root in enumerate(roots):
        if isinstance(root, str):
            code[f"source {number}", None], used = _Module("", root).everything
            queue += used
        else:
            module, name = root if isinstance(root, tuple) else (root.__module__, root.__qualname__)
            queue.append((module, name.partition(".")[0]))
    while queue:
        place = queue.pop()
        name, definition = place
        if place in code or name.removeprefix(NAME + ".") in PLUMBING:
            continue
        if name != NAME and not name.startswith(NAME + "."):
            packages.add(name.partition(".")[0])
            continue
        module = parsed(name)
        code[place], used = module.everything if definition is None else module.definition(definition)
        queue += used
    return code, packages


def forget():
    """Read the sources anew at the next call; for tests that change them."""
    source_hash.cache_clear()
    parsed.cache_clear()


@functools.cache
def parsed(name):
    """The definitions of a module of this package, by its dotted name, and what each of them uses."""
    return _parse(name, _file(name).read_text("utf-8"))


@functools.cache
def _parse(name, source):
    return _Module(name, source)


_owners = functools.cache(metadata.packages_distributions)


def _version(package):
    """The version of the distribution that a top-level module belongs to; None for the standard library."""
    owners = _owners().get(package)
    return metadata.version(owners[0]) if owners else None


class _Module:
    """The definitions of a module, and what each of them uses."""

    def __init__(self, name, source):
        self.name, self.tree = name, _as_run(ast.parse(source))
        self.definitions, self.imports, self.others = {}, {}, []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, None)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = _origin(node.module or "", alias.name)
        for node in self.tree.body:
            names = _defined(node)
            for each in names:
                self.definitions.setdefault(each, []).append(node)
            if not names and not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
                self.others.append(node)

    @functools.cached_property
    def everything(self):
        """The bare code of the whole module and the set of (module, definition) that it uses."""
        return self._bare(self.tree.body)

    @functools.cache  # noqa: B019
    def definition(self, name):
        """The same of one definition, with the statements beside the definitions, which act when it is imported."""
        if name in self.definitions:
            return self._bare([*self.definitions[name], *self.others])
        if name in self.imports:
            return "", {self.imports[name]}
        if (inner := _origin(self.name, name))[1] is None:
            return "", {inner}
        return self.everything  # made in a way of its own

    def _bare(self, nodes):
        checks = tuple(f"{name}." for name, origin in self.imports.items() if origin == CHECKS)
        tree = ast.fix_missing_locations(_Bare(checks).visit(copy.deepcopy(ast.Module(list(nodes), []))))
        names, used = _global_names(symtable.symtable(ast.unparse(tree), self.name, "exec")), set()
        used |= {(self.name, name) for name in names if name in self.definitions}
        modules = {name: self.imports[name][0] for name in names & self.imports.keys() if not self.imports[name][1]}
        used |= {self.imports[name] for name in names & self.imports.keys() - modules.keys()}
        whole = set(modules)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                name = modules[node.value.id]
                used.add((name, node.attr))
                node.value.id = "." if _file(name) else f". {name}"  # where ours is does not count
        whole &= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return _as_text(tree), used | {(modules[name], None) for name in whole}


class _Bare(ast.NodeTransformer):
    """Drops what cannot change a number; `checks` is how calls of `CHECKS` begin.

    A refusal could decide a number only where it is caught and work goes on. A test sees to it that none is.
    """

    def __init__(self, checks):
        self.checks, self.fields = checks, set()

    def visit_Expr(self, node):
        call = node.value
        if isinstance(call, ast.Constant):  # a docstring
            return None
        if isinstance(call, ast.Call):
            function = ast.unparse(call.func)
            if function in ("warnings.warn", "note") or function.startswith(self.checks):
                return None
        return self.generic_visit(node)

    def visit_Import(self, node):
        return None

    visit_ImportFrom = visit_Import

    def visit_If(self, node):
        keeps = any(isinstance(each, ast.NamedExpr) for each in ast.walk(node.test))
        if not (keeps or node.orelse) and all(isinstance(each, ast.Raise) for each in node.body):
            return None
        return self.generic_visit(node)

    def visit_arg(self, node):
        return ast.arg(node.arg, None if _quoted(node.annotation) else node.annotation)

    def visit_FunctionDef(self, node):
        node.returns = None if _quoted(node.returns) else node.returns
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.fields.update(node.body)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if node.value is None or node in self.fields or not _quoted(node.annotation):
            return node
        return ast.Assign([node.target], node.value)

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            return ast.Raise(node.exc.func, None)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        if ast.unparse(node.func).startswith(self.checks) and node.args:
            return node.args[0]
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in ("progress", "note")]
        if isinstance(node.func, ast.Name) and node.func.id in BARS:
            node.args, node.keywords = node.args[:1], []
        return node

    def visit_JoinedStr(self, node):
        self.generic_visit(node)
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]  # Python 3.12 adds some
        return node

    def generic_visit(self, node):
        super().generic_visit(node)
        if hasattr(node, "body") and node.body == []:
            node.body = [ast.Pass()]
        return node


def _as_run(tree):
    """A module without what only type checkers read; it changes the tree."""
    seen = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    unread = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) in seen]
    tree.body = [each for node in tree.body for each in (node.orelse if node in unread else [node])]
    return tree


def _quoted(annotation):
    return isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)


def _as_text(node):
    """A syntax tree in text, the same for every version of Python: what is empty or only a context is left out."""
    if isinstance(node, ast.AST):
        parts = {name: _as_text(value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind")}
        return f"{type(node).__name__}({', '.join(f'{name}={text}' for name, text in parts.items() if text)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_as_text, node))}]" if node else ""
    return "" if node is None else repr(node)


def _origin(module, name):
    """The (module, definition) that `from module import name` gives; the definition is None for a module."""
    inner = f"{module}.{name}"
    return (inner, None) if module.partition(".")[0] == NAME and _file(inner) else (module, name)


def _file(name):
    """The file of a module of this package, or None if there is no such module."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _global_names(table):
    """Names that some scope of a symbol table takes from the top of the module."""
    top = table.get_type() == "module"
    names = {each.get_name() for each in table.get_symbols() if each.is_referenced() and (top or each.is_global())}
    return names.union(*map(_global_names, table.get_children()))


def _defined(node):
    """The names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
