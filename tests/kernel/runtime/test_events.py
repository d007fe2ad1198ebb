"""The web platform: events, listeners, and what can be aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str], Any]


# Events and abort ---------------------------------------------------------------------


def test_listeners_are_called_as_registered(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const target = new EventTarget();
        const twice = () => seen.push("twice");
        target.addEventListener("x", twice);
        target.addEventListener("x", twice);
        target.addEventListener("x", () => seen.push("once"), { once: true });
        target.addEventListener("x", { handleEvent(e) { seen.push(e.type); } });
        target.addEventListener("x", function () { seen.push(this === target); }, true);
        target.dispatchEvent(new Event("x"));
        target.removeEventListener("x", twice);
        target.dispatchEvent(new Event("x"));
        return seen;
    """) == [True, "twice", "once", "x", True, "x"]


def test_an_event_knows_its_target_only_while_dispatched(run_js: Run) -> None:
    assert run_js("""
        const target = new EventTarget();
        const event = new CustomEvent("x", { detail: 7, cancelable: true });
        let during;
        target.addEventListener("x", (e) => {
          during = [e.target === target, e.currentTarget === target, e.eventPhase,
                    e.composedPath().length, e.isTrusted];
          e.preventDefault();
        });
        const result = target.dispatchEvent(event);
        return [during, result, event.defaultPrevented, event.target === target,
                event.currentTarget, event.eventPhase, event.detail];
    """) == [[True, True, 2, 1, False], False, True, True, None, 0, 7]


def test_stopping_passive_and_removed_listeners(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const target = new EventTarget();
        const controller = new AbortController();
        const late = () => seen.push("late");
        const passive = { passive: true };
        target.addEventListener("x", (e) => {
          e.preventDefault(); seen.push(e.defaultPrevented);
        }, passive);
        target.addEventListener("x", () => target.removeEventListener("x", late));
        target.addEventListener("x", late);
        target.addEventListener("x", () => seen.push("signal"), {
          signal: controller.signal });
        target.addEventListener("x", (e) => e.stopImmediatePropagation());
        target.addEventListener("x", () => seen.push("never"));
        target.dispatchEvent(new Event("x", { cancelable: true }));
        controller.abort();
        target.dispatchEvent(new Event("x"));
        return seen;
    """) == [False, "signal", False]


def test_a_failing_listener_is_reported_and_the_others_run(run_js: Run) -> None:
    assert run_js("""
        let ran = false;
        const target = new EventTarget();
        target.addEventListener("x", () => { throw new TypeError("oops"); });
        target.addEventListener("x", () => { ran = true; });
        target.dispatchEvent(new Event("x"));
        return [ran, internals.host.errors];
    """) == [True, ["TypeError: oops"]]


def test_dispatching_twice_at_once_is_refused(run_js: Run) -> None:
    assert run_js("""
        const target = new EventTarget();
        let name;
        target.addEventListener("x", (e) => {
          try { target.dispatchEvent(e); } catch (error) { name = error.name; }
        });
        target.dispatchEvent(new Event("x"));
        return name;
    """) == ("InvalidStateError")


def test_aborting_tells_the_listeners_once(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const controller = new AbortController();
        const { signal } = controller;
        signal.onabort = (e) => seen.push([e.type, e.isTrusted, signal.aborted]);
        signal.addEventListener("abort", () => seen.push("listener"));
        controller.abort();
        controller.abort("again");
        let thrown;
        try { signal.throwIfAborted(); } catch (e) { thrown = e === signal.reason; }
        return [seen, signal.reason.name, thrown, AbortSignal.abort(5).reason];
    """) == [[["abort", True, True], "listener"], "AbortError", True, 5]


def test_a_handler_can_be_replaced_and_removed(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const controller = new AbortController();
        controller.signal.onabort = () => seen.push("first");
        controller.signal.addEventListener("abort", () => seen.push("listener"));
        controller.signal.onabort = () => seen.push("second");
        controller.abort();
        const other = new AbortController();
        other.signal.onabort = () => seen.push("never");
        other.signal.onabort = null;
        other.abort();
        return [seen, other.signal.onabort];
    """) == [["second", "listener"], None]


def test_any_follows_its_sources_through_others(run_js: Run) -> None:
    assert run_js("""
        const [a, b] = [new AbortController(), new AbortController()];
        const inner = AbortSignal.any([a.signal, b.signal]);
        const outer = AbortSignal.any([inner]);
        const seen = [];
        inner.addEventListener("abort", () => seen.push(["inner", outer.aborted]));
        outer.addEventListener("abort", () => seen.push(["outer", inner.aborted]));
        b.abort("why");
        a.abort("too late");
        return [seen, inner.reason, outer.reason, AbortSignal.any([]).aborted,
                AbortSignal.any([b.signal]).reason];
    """) == [[["inner", True], ["outer", True]], "why", "why", False, "why"]


def test_a_signal_times_out(run_js: Run) -> None:
    assert run_js("""
        const signal = AbortSignal.timeout(1);
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return [signal.reason.name, signal.reason.code];
    """) == ["TimeoutError", 23]
