"""Functions of V8's insides that saving a heap needs; V8 exports them by name too.

As `symbols`, of which this is the second part: letters and names as there. Methods of
heap objects take the address of a word that holds the object, as a handle is.
"""

from __future__ import annotations

from typing import Final

PROTOTYPES: Final[dict[str, tuple[str, str, str]]] = {
    "use_counter": (
        "_ZN2v87Isolate21SetUseCounterCallbackEPFvPS0_NS0_17UseCounterFeatureEE",
        "-",
        "pp",
    ),
    "isolate_heap": ("_ZN2v88internal7Isolate4heapEv", "p", "p"),
    "dequeue_registry": (
        "_ZN2v88internal4Heap34DequeueDirtyJSFinalizationRegistryEv",
        "p",
        "p",
    ),
    "has_dirty_registries": (
        "_ZN2v88internal4Heap32HasDirtyJSFinalizationRegistriesEv",
        "b",
        "p",
    ),
    "registries_task_new": (
        "_ZN2v88internal31FinalizationRegistryCleanupTaskC1EPNS0_4HeapE",
        "-",
        "pp",
    ),
    "registries_task_run": (
        "_ZN2v88internal31FinalizationRegistryCleanupTask11RunInternalEv",
        "-",
        "p",
    ),
    "listener_add": (
        "_ZN2v87Isolate18AddMessageListenerEPFvNS_5LocalINS_7MessageEEENS1_INS_5Value"
        "EEEES5_",
        "b",
        "ppp",
    ),
    "listener_remove": (
        "_ZN2v87Isolate22RemoveMessageListenersEPFvNS_5LocalINS_7MessageEEENS1_INS_5"
        "ValueEEEE",
        "-",
        "pp",
    ),
    "formatted_stack": (
        "_ZN2v88internal10ErrorUtils17GetFormattedStackEPNS0_7IsolateENS0_12Direct"
        "HandleINS0_8JSObjectEEE",
        "p",
        "pp",
    ),
    "backing_store_new": (
        "_ZN2v88internal12BackingStoreC1EPvmmmNS0_10SharedFlagENS0_13Resizable"
        "FlagEbbbbb",
        "-",
        "ppzzziibbbbb",
    ),
    # A std::shared_ptr is passed as it lies, two words (libc++'s trivial ABI).
    "buffer_take_store": (
        "_ZN2v88internal13JSArrayBuffer15RemoveExtensionEv",
        "S",
        "p",
    ),
    "buffer_setup": (
        "_ZN2v88internal13JSArrayBuffer5SetupENS0_10SharedFlagENS0_13ResizableFlag"
        "ENSt4__Cr10shared_ptrINS0_12BackingStoreEEEPNS0_7IsolateE",
        "-",
        "piiSp",
    ),
    "is_wasm_function": (
        "_ZN2v88internal20WasmExportedFunction22IsWasmExportedFunctionENS0_6Tagged"
        "INS0_6ObjectEEE",
        "b",
        "z",
    ),
}

UNSAVABLE: Final[dict[str, str]] = {
    # kind: V8's class
    "Intl.Collator": "JSCollator",
    "Intl.DateTimeFormat": "JSDateTimeFormat",
    "Intl.DisplayNames": "JSDisplayNames",
    "Intl.DurationFormat": "JSDurationFormat",
    "Intl.ListFormat": "JSListFormat",
    "Intl.Locale": "JSLocale",
    "Intl.NumberFormat": "JSNumberFormat",
    "Intl.PluralRules": "JSPluralRules",
    "Intl.RelativeTimeFormat": "JSRelativeTimeFormat",
    "Intl.Segmenter": "JSSegmenter",
    "Intl.Segments": "JSSegments",
    "Intl.SegmentIterator": "JSSegmentIterator",
    "Temporal.Duration": "JSTemporalDuration",
    "Temporal.Instant": "JSTemporalInstant",
    "Temporal.PlainDate": "JSTemporalPlainDate",
    "Temporal.PlainDateTime": "JSTemporalPlainDateTime",
    "Temporal.PlainMonthDay": "JSTemporalPlainMonthDay",
    "Temporal.PlainTime": "JSTemporalPlainTime",
    "Temporal.PlainYearMonth": "JSTemporalPlainYearMonth",
    "Temporal.ZonedDateTime": "JSTemporalZonedDateTime",
    "WebAssembly.Instance": "WasmInstanceObject",
    "WebAssembly.Memory": "WasmMemoryObject",
    "WebAssembly.Module": "WasmModuleObject",
    "WebAssembly.Table": "WasmTableObject",
}
"""What of V8's own classes can't be saved, or not be used when it has been."""


def predicate(name: str) -> str:
    """Mangled name of the predicate of a class; takes the object itself."""
    name = f"Is{name}_NonInline"
    return f"_ZN2v88internal{len(name)}{name}ENS0_6TaggedINS0_10HeapObjectEEE"
