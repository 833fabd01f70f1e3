"""A module of this package, and what it uses of the others, as one Python file that runs where the package isn't.

Every line is the source's own; what nothing in the file uses is left out: top-level statements, methods by their names,
and entries of tables, such as `MIXERS`, for kinds that a network hasn't.
"""

import ast
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib import resources

ALWAYS = ("forward", "backward")
"""Methods that torch calls."""
CHECKS = "__post_init__"
"""Method that checks settings, as those of a trained network have been."""


@dataclass(frozen=True)
class Module:
    """A module's source and its top-level statements, the docstring apart."""

    name: str
    lines: list[str]
    statements: list[ast.stmt]
    docstring: str
    imported: dict[str, str]
    """The module of this package that each imported name is from."""


@dataclass
class Used:
    """What of the package is in the file, found so far."""

    kinds: Collection[str]
    names: set[tuple[str, str]] = field(default_factory=set)
    """Top-level names, each with its module."""
    attributes: set[str] = field(default_factory=set)
    """All that is asked of objects, by its name: methods of any other name are not called."""


def one_file(entry: str, kinds: Collection[str]) -> str:
    """Return the module `entry` and what it uses, kinds in tables being those of `kinds`, as the text of one file.

    Raises `ValueError` if two modules have different things of one name.
    """
    modules = _in_order(entry)
    used = _used(modules[-1], kinds)
    parts = [f'"""{modules[-1].docstring}\n"""', _imports(modules, used)]
    owners: dict[str, str] = {}
    for module in modules:
        statements = [s for s in _kept(module, used) if not isinstance(s, ast.Import | ast.ImportFrom)]
        for name in (name for s in statements for name in _defined(s)):
            if owners.setdefault(name, module.name) != module.name:
                raise ValueError(f"{name} is in {owners[name]} and in {module.name}: rename one of them")
        if statements:
            about = f"\n{module.docstring}" if module is not modules[-1] else ""
            parts.append(_comment(f"{'-' * 20} {module.name}{about}"))
        for statement in statements:
            if isinstance(statement, ast.Expr):  # what the name just before it means
                parts[-1] += "\n" + _source(module, statement, used)
            else:
                parts.append(_source(module, statement, used))
    return "\n\n\n".join(parts) + "\n"


def _in_order(entry: str) -> list[Module]:
    """Return the module and those that it imports, each after those that it imports itself."""
    modules: dict[str, Module] = {}

    def add(name: str) -> None:
        if name not in modules:
            module = _read(name)
            for other in module.imported.values():
                add(other)
            modules[name] = module

    add(entry)
    return list(modules.values())


@functools.cache
def _read(name: str) -> Module:
    package, _, last = name.rpartition(".")
    place = resources.files(package).joinpath(last)
    file = place.joinpath("__init__.py") if place.is_dir() else resources.files(package).joinpath(f"{last}.py")
    text = file.read_text(encoding="utf-8")
    tree, ours = ast.parse(text), __name__.partition(".")[0] + "."
    own = [s for s in tree.body if isinstance(s, ast.ImportFrom) and str(s.module).startswith(ours)]
    imported = {alias.name: str(s.module) for s in own for alias in s.names}
    body = [s for s in tree.body[1:] if s not in own]
    return Module(name, text.splitlines(), body, ast.get_docstring(tree) or "", imported)


def _used(entry: Module, kinds: Collection[str]) -> Used:
    """Return what is used by all of the entry, and by what that uses, until nothing is added."""
    used, before = Used(kinds), -1
    used.names = {(entry.name, name) for s in entry.statements for name in _defined(s)}
    # Who loads the file calls methods of the entry's own classes.
    used.attributes = {m.name for s in entry.statements if isinstance(s, ast.ClassDef) for m in _methods(s)}
    while before != (before := len(used.names) + len(used.attributes)):
        for name in {module for module, _ in used.names}:
            module = _read(name)
            for part in [part for statement in _kept(module, used) for part in _parts(statement, used)]:
                names, attributes = _mentioned(part)
                used.names |= {(module.imported.get(n, module.name), n) for n in names}
                used.attributes |= attributes
    return used


def _kept(module: Module, used: Used) -> Iterator[ast.stmt]:
    """Yield the statements of a module that define what is used, and the docstrings after them."""
    kept = False
    for statement in module.statements:
        if not isinstance(statement, ast.Expr):
            kept = any((module.name, name) in used.names for name in _defined(statement))
        if kept:
            yield statement


@functools.cache
def _defined(statement: ast.stmt) -> Collection[str]:
    """Return the names that a top-level statement gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if isinstance(statement, ast.Try):
        names = {name for inner in (*statement.body, *statement.handlers[0].body) for name in _defined(inner)}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return names


def _parts(statement: ast.stmt, used: Used) -> list[ast.AST]:
    """Return the parts of a statement that stay in the file."""
    if table := _table(statement):
        return [value for _, value in _entries(table, used)]
    if isinstance(statement, ast.ClassDef):
        dropped = _dropped(statement, used)
        members = [member for member in statement.body if member not in dropped]
        return [*statement.bases, *statement.keywords, *statement.decorator_list, *members]
    return [statement]


@functools.cache
def _mentioned(part: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names and the attributes in a part of a statement."""
    nodes = list(ast.walk(part))
    names = frozenset(node.id for node in nodes if isinstance(node, ast.Name))
    return names, frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))


def _dropped(statement: ast.stmt, used: Used) -> list[ast.FunctionDef]:
    """Return a class's methods that nothing calls."""
    methods = _methods(statement) if isinstance(statement, ast.ClassDef) else []
    return [m for m in methods if not _called(m.name, used)]


def _methods(statement: ast.ClassDef) -> list[ast.FunctionDef]:
    return [m for m in statement.body if isinstance(m, ast.FunctionDef)]


def _called(name: str, used: Used) -> bool:
    special = name.startswith("__") and name.endswith("__") and name != CHECKS
    return special or name in ALWAYS or name in used.attributes


def _table(statement: ast.stmt) -> ast.Dict | None:
    """Return the dictionary of a statement that names classes by their kinds, or None for any other statement."""
    value = statement.value if isinstance(statement, ast.AnnAssign) else None
    if not isinstance(value, ast.Dict):
        return None
    return value if all(isinstance(named, ast.Name) for named in value.values) else None


def _entries(table: ast.Dict, used: Used) -> list[tuple[ast.expr | None, ast.expr]]:
    """Return the entries of a table for kinds that there are, and those of other tables within it."""
    pairs = zip(table.keys, table.values, strict=True)
    return [(k, v) for k, v in pairs if k is None or ast.literal_eval(k) in used.kinds]


def _source(module: Module, statement: ast.stmt, used: Used) -> str:
    """Return a statement's own lines without the methods that are dropped, comments before them included."""
    if table := _table(statement):
        entries = [
            f"{ast.unparse(k)}: {ast.unparse(v)}" if k else f"**{ast.unparse(v)}" for k, v in _entries(table, used)
        ]
        return f"{next(iter(_defined(statement)))} = {{{', '.join(entries)}}}"
    dropped = {line for method in _dropped(statement, used) for line in _lines(module, method)}
    lines = [module.lines[i] for i in _lines(module, statement) if i not in dropped]
    return "\n".join(lines).rstrip()


def _lines(module: Module, statement: ast.stmt) -> range:
    """Return the indices of a statement's lines, with decorators, comments just before, and empty lines after."""
    decorators = getattr(statement, "decorator_list", [])
    first, end = min([statement, *decorators], key=lambda node: node.lineno).lineno - 1, statement.end_lineno or 0
    while first and module.lines[first - 1].lstrip().startswith("#"):
        first -= 1
    while end < len(module.lines) and not module.lines[end].strip():
        end += 1
    return range(first, end)


def _imports(modules: list[Module], used: Used) -> str:
    """Return the imports of other packages, each line once, only names that are used."""
    lines: dict[str, set[str]] = {}
    for module in modules:
        for statement in _kept(module, used):
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    lines.setdefault(f"import {ast.unparse(alias)}", set())
            elif isinstance(statement, ast.ImportFrom):
                named = [a for a in statement.names if (module.name, a.asname or a.name) in used.names]
                lines.setdefault(f"from {statement.module} import ", set()).update(map(ast.unparse, named))
    return "\n".join(start + ", ".join(sorted(names)) for start, names in sorted(lines.items()))


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())
