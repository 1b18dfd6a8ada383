"""The text of a StableHLO module that is one call of a kernel, with sizes that may be unknown."""


def module(name, arguments, results, attributes):
    """A module for a call. Where a size is unknown, it asks the first argument for it when it runs.

    Args:
        name: that under which the kernel is registered.
        arguments: for each argument its shape, None for unknown sizes, and its dtype, as MLIR names it.
        results: for each result, an array of float32, the axes of the first argument that its shape begins with, and
            the sizes that follow.
        attributes: integers and arrays of integers or of floats by name.
    """
    shape = arguments[0][0]
    known = all(n is not None for sizes, _ in arguments for n in sizes)
    given = [_tensor(*argument) for argument in arguments]
    made = [_tensor([*(shape[axis] for axis in axes), *sizes], "f32") for axes, sizes in results]
    lines, operands, types, more = [], [f"%a{i}" for i in range(len(given))], list(given), ""
    if not known:
        for axis in range(len(shape)):
            lines.append(f"%d{axis} = stablehlo.get_dimension_size %a0, dim = {axis} : ({given[0]}) -> tensor<i32>")
            lines.append(f"%n{axis} = stablehlo.reshape %d{axis} : (tensor<i32>) -> tensor<1xi32>")
        for size in sorted({size for _, sizes in results for size in sizes}):
            lines.append(f"%c{size} = stablehlo.constant dense<{size}> : tensor<1xi32>")
        for i, (axes, sizes) in enumerate(results):
            parts = [*(f"%n{axis}" for axis in axes), *(f"%c{size}" for size in sizes)]
            ones = ", ".join(["tensor<1xi32>"] * len(parts))
            lines.append(
                f"%s{i} = stablehlo.concatenate {', '.join(parts)}, dim = 0 : ({ones}) -> tensor<{len(parts)}xi32>"
            )
        indices = ", ".join(str(len(given) + i) for i in range(len(results)))
        more = f", indices_of_shape_operands = dense<[{indices}]> : tensor<{len(results)}xi64>"
        operands += [f"%s{i}" for i in range(len(results))]
        types += [f"tensor<{len(axes) + len(sizes)}xi32>" for axes, sizes in results]
    config = ", ".join(f"{key} = {_attribute(value)}" for key, value in attributes.items())
    call = f"stablehlo.custom_call @{name}({', '.join(operands)})"
    call += f" {{api_version = 4 : i32, backend_config = {{{config}}}{more}}}"
    lines.append(f"%r:{len(made)} = {call} : ({', '.join(types)}) -> ({', '.join(made)})")
    values = ", ".join(f"%r#{i}" for i in range(len(made)))
    lines.append(f"return {values} : {', '.join(made)}")
    attribute = "" if known else " attributes {jax.uses_shape_polymorphism = true}"
    parameters = ", ".join(f"%a{i}: {one}" for i, one in enumerate(given))
    body = "\n    ".join(lines)
    return f"""module @{name}{attribute} {{
  func.func public @main({parameters}) -> ({", ".join(made)}) {{
    {body}
  }}
}}"""


def _tensor(shape, dtype):
    return "x".join(["?" if n is None else str(n) for n in shape] + [dtype]).join(["tensor<", ">"])


def _attribute(value):
    if isinstance(value, int):
        return f"{value} : i64"
    kind, values = ("i64", map(str, value)) if value.dtype.kind == "i" else ("f32", (f"{float(v)!r}" for v in value))
    return f"array<{kind}{': ' if len(value) else ''}{', '.join(values)}>"
