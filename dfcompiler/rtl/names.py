"""Identifiers: what SystemVerilog, Verilog and C allow, and the prefix that every name of a package gets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dfcompiler.diagnostics import Diag

LOWER_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# C11 5.2.4.1: a compiler need compare only this many characters of a name.
LONGEST = 63

# IEEE 1800-2017 table B.1; those of Verilog-2005 (IEEE 1364-2005 annex B) are a subset.
_SV_WORDS = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
    const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
    dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
    endinterface endmodule endpackage endprimitive endprogram endproperty endspecify endsequence endtable endtask
    enum event eventually expect export extends extern final first_match for force foreach forever fork forkjoin
    function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
    incdir include initial inout input inside instance int integer interconnect interface intersect join join_any
    join_none large let liblist library local localparam logic longint macromodule matches medium modport module
    nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
    parameter pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg
    reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
    s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table
    tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""

# C11 6.4.1, and the macros of <stdalign.h>, <stdbool.h>, <stdnoreturn.h>, <threads.h> and <assert.h>.
_C_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof bool false true noreturn static_assert thread_local assert complex imaginary
"""
KEYWORDS = frozenset((_SV_WORDS + _C_WORDS).split())

# <stdint.h> owns the names that begin so: INT_FAST8_MAX, UINT32_MAX, uint_fast8_t, SIZE_MAX ...
_STDINT = re.compile(r"(u?int(max|ptr|\d+)?|ptrdiff|sig|size|wchar|wint)")


def snake(text: str) -> str:
    """`text` in lower case with every run of other characters than letters and digits as one underscore."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def symbol(package: str, *parts: str) -> str:
    """The name of a localparam or macro: `symbol("ador", "sa", "rows")` is `ADOR_SA_ROWS`."""
    return "_".join((package, *parts)).upper()


def check_name(name: str, what: str) -> None:
    """Raise `rtl-name` unless `name` is lower_snake and begins with a letter."""
    if LOWER_SNAKE.fullmatch(name):
        return
    hint = "it must begin with a letter" if name[:1].isdigit() else "use a-z, 0-9 and single underscores: `sa_rows`"
    raise Diag("rtl-name", f"the name `{name}` of {what} is not an identifier in lower_snake", hint=hint)


def check_package_name(name: str) -> None:
    """Raise `rtl-name` unless `name` can be the prefix of every name in a package."""
    check_name(name, "the package")
    if _STDINT.fullmatch(name) or name in KEYWORDS:
        owner = "a keyword" if name in KEYWORDS else "a prefix of names in <stdint.h>"
        raise Diag("rtl-name", f"the package cannot be called `{name}`: that is {owner}", hint="choose another --name")


def check_identifiers(identifiers: Iterable[tuple[str, str]]) -> None:
    """Check (identifier, owner) pairs as they will be emitted into one scope.

    Raises `rtl-name` for a keyword or one that is too long, `rtl-collision` for two that differ in case only.
    """
    owners: dict[str, str] = {}
    for identifier, owner in identifiers:
        if identifier in KEYWORDS:
            raise Diag("rtl-name", f"{owner} would be emitted as `{identifier}`, a keyword", hint="rename it")
        if len(identifier) > LONGEST:
            said = f"{owner} would be emitted as `{identifier}`, which is {len(identifier)} characters long"
            raise Diag("rtl-name", said, hint=f"C11 tells names apart by their first {LONGEST} characters: shorten it")
        other = owners.setdefault(identifier.casefold(), owner)
        if other != owner:
            said = f"{owner} and {other} would both be emitted as `{identifier}`"
            raise Diag("rtl-collision", said, hint="rename one")
