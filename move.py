"""Move modules and rewrite every reference. Usage: move.py MAPFILE (in a git checkout)."""
import ast, re, subprocess, sys
from pathlib import Path

mapping = {}
for line in Path(sys.argv[1]).read_text().splitlines():
    line = line.split('#')[0].strip()
    if line:
        old, new = line.split()
        mapping[old] = new

def path_of(mod):
    return Path(mod.replace('.', '/') + '.py')

root = Path('.')
def is_module(dotted):
    p = Path(dotted.replace('.', '/'))
    return p.with_suffix('.py').exists() or (p / '__init__.py').exists()

class Scopes(ast.NodeVisitor):
    """Find Name nodes that resolve to the module's globals."""
    def __init__(self, wanted):
        self.wanted, self.stack, self.found = wanted, [], []
    def bound(self, node):
        names = set()
        a = node.args
        for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]:
            if x: names.add(x.arg)
        body = node.body if isinstance(node.body, list) else [node.body]
        globs = set()
        def walk(n):
            for c in ast.iter_child_nodes(n):
                if isinstance(c, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    names.add(c.name); continue
                if isinstance(c, ast.Lambda): continue
                if isinstance(c, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
                    continue
                if isinstance(c, ast.Name) and isinstance(c.ctx, (ast.Store, ast.Del)): names.add(c.id)
                if isinstance(c, ast.ExceptHandler) and c.name: names.add(c.name)
                if isinstance(c, (ast.MatchAs, ast.MatchStar)) and c.name: names.add(c.name)
                if isinstance(c, ast.MatchMapping) and c.rest: names.add(c.rest)
                if isinstance(c, ast.Global): globs.update(c.names)
                if isinstance(c, (ast.Import, ast.ImportFrom)):
                    for al in c.names: names.add((al.asname or al.name).split('.')[0])
                walk(c)
        for b in body:
            walk(ast.Module([b], []))
        return names - globs
    def func(self, node):
        for d in getattr(node, 'decorator_list', []): self.visit(d)
        a = node.args
        for d in [*a.defaults, *[k for k in a.kw_defaults if k]]: self.visit(d)
        for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]:
            if x and x.annotation: self.visit(x.annotation)
        if getattr(node, 'returns', None): self.visit(node.returns)
        self.stack.append(self.bound(node))
        for b in (node.body if isinstance(node.body, list) else [node.body]): self.visit(b)
        self.stack.pop()
    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = func
    def comp(self, node):
        names = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        self.stack.append(names); self.generic_visit(node); self.stack.pop()
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = comp
    def visit_Name(self, node):
        if node.id in self.wanted and not any(node.id in s for s in self.stack):
            self.found.append(node)

def offsets(text):
    res, pos = [], 0
    for line in text.splitlines(keepends=True):
        res.append(pos); pos += len(line.encode())
    res.append(pos)
    return res

def rewrite(text, newmod_self):
    tree = ast.parse(text)
    data = text.encode()
    off = offsets(text)
    edits, renames = [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and node.module.split('.')[0] in ('reconciler', 'tests'):
            out = {}
            for al in node.names:
                full = f'{node.module}.{al.name}'
                if full in mapping or (is_module_old(full)):
                    new = mapping.get(full, full)
                    pkg, name = new.rsplit('.', 1)
                    asname = al.asname
                    if al.asname == name: asname = None
                    if not al.asname and name != al.name: renames[al.name] = name
                    out.setdefault(pkg, []).append((name, asname))
                else:
                    out.setdefault(mapping.get(node.module, node.module), []).append((al.name, al.asname))
            indent = ' ' * node.col_offset
            lines = []
            for pkg, names in out.items():
                items = ', '.join(n + (f' as {a}' if a else '') for n, a in names)
                s = f'from {pkg} import {items}'
                if len(s) + len(indent) > 110:
                    s = f'from {pkg} import (\n' + ''.join(f'{indent}    {n}{f" as {a}" if a else ""},\n' for n, a in names) + f'{indent})'
                lines.append(s)
            new = ('\n' + indent).join(lines)
            start = off[node.lineno - 1] + node.col_offset
            end = off[node.end_lineno - 1] + node.end_col_offset
            if data[start:end].decode() != new and any(True for _ in [0]):
                edits.append((start, end, new))
    if renames:
        sc = Scopes(set(renames)); sc.visit(tree)
        for n in sc.found:
            start = off[n.lineno - 1] + n.col_offset
            edits.append((start, start + len(n.id.encode()), renames[n.id]))
    changed = []
    for s, e, n in edits:
        if data[s:e].decode() != n: changed.append((s, e, n))
    for s, e, n in sorted(changed, reverse=True):
        data = data[:s] + n.encode() + data[e:]
    text = data.decode()
    return text

OLD = {str(p.with_suffix('')).replace('/', '.').removesuffix('.__init__') for r in ('reconciler', 'tests') for p in root.joinpath(r).rglob('*.py')}
def is_module_old(d): return d in OLD

texts = {}
for r in ('reconciler', 'tests', 'examples'):
    for p in sorted(root.joinpath(r).rglob('*.py')):
        texts[p] = rewrite(p.read_text(), None)
keys = sorted(mapping, key=len, reverse=True)
pattern = re.compile(r'(?<![\w./-])(' + '|'.join(re.escape(k) for k in keys) + r')(?![\w])')
for p, t in texts.items():
    lines = []
    for line in t.splitlines(keepends=True):
        if re.match(r'\s*(from|import) (reconciler|tests)', line):
            m = re.match(r'(\s*import )(reconciler[\w.]*|tests[\w.]*)(.*)', line, re.S)
            if m and m[2] in mapping: line = m[1] + mapping[m[2]] + m[3]
            lines.append(line)
        else:
            lines.append(pattern.sub(lambda m: mapping[m[1]], line))
    p.write_text(''.join(lines))
for old, new in mapping.items():
    src, dst = path_of(old), path_of(new)
    if not src.exists():
        if (src.with_suffix('') / '__init__.py').exists(): src, dst = src.with_suffix('') / '__init__.py', dst.with_suffix('') / '__init__.py'
        else: print('missing', old); continue
    dst.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(['git', 'mv', str(src), str(dst)], check=True)
