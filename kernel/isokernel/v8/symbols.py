# ruff: noqa: E501 -- a mangled name can be searched for only when it is whole
"""The functions of V8's C++ API that the binding calls, by mangled name.

One table, so that a missing or renamed function is found at load and named. Signature
letters: p pointer, i int, b bool, z size_t, s bytes, d double, I uint32, - nothing.
`Local<T>` and `MaybeLocal<T>` are one pointer each (null = empty); `Maybe<bool>` is two
bytes, returned in the low half of a register. All that must be looked at for another V8
is here.

The names are those of libmini_racer (V8 14.4, libc++ namespace `__Cr`, Itanium ABI).
"""

from __future__ import annotations

from typing import Final

# fmt: off
PROTOTYPES: Final[dict[str, tuple[str, str, str]]] = {
    # name: (mangled symbol, result, arguments)
    "isolate_enter": ("_ZN2v87Isolate5EnterEv", "-", "p"),
    "isolate_exit": ("_ZN2v87Isolate4ExitEv", "-", "p"),
    "terminate": ("_ZN2v87Isolate18TerminateExecutionEv", "-", "p"),
    "cancel_terminate": ("_ZN2v87Isolate24CancelTerminateExecutionEv", "-", "p"),
    "is_terminating": ("_ZN2v87Isolate22IsExecutionTerminatingEv", "b", "p"),
    "request_interrupt": ("_ZN2v87Isolate16RequestInterruptEPFvPS0_PvES2_", "-", "ppp"),
    "throw": ("_ZN2v87Isolate14ThrowExceptionENS_5LocalINS_5ValueEEE", "p", "pp"),
    "microtasks_policy": ("_ZN2v87Isolate19SetMicrotasksPolicyENS_16MicrotasksPolicyE", "-", "pi"),
    "microtasks": ("_ZN2v87Isolate26PerformMicrotaskCheckpointEv", "-", "p"),
    "heap_statistics": ("_ZN2v87Isolate17GetHeapStatisticsEPNS_14HeapStatisticsE", "-", "pp"),
    "low_memory": ("_ZN2v87Isolate21LowMemoryNotificationEv", "-", "p"),
    "near_limit_add": ("_ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_", "-", "ppp"),
    "near_limit_remove": ("_ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm", "-", "ppz"),
    "near_limit_invoke": ("_ZN2v88internal4Heap27InvokeNearHeapLimitCallbackEv", "b", "p"),
    "large_page_new": ("_ZN2v88internal15MemoryAllocator17AllocateLargePageEPNS0_16LargeObjectSpaceEmNS0_13ExecutabilityENS0_14AllocationHintE", "p", "ppzii"),
    "can_expand": ("_ZNK2v88internal4Heap22CanExpandOldGenerationEm", "b", "pz"),
    # printf's arguments: the format, and for sizes the number.
    "fatal_size": ("_ZN2v84base21FatalNoSecurityImpactEPKcz", "-", "pi"),
    "gc_prologue_add": ("_ZN2v87Isolate21AddGCPrologueCallbackEPFvPS0_NS_6GCTypeENS_15GCCallbackFlagsEPvES4_S2_", "-", "pppi"),
    "gc_epilogue_add": ("_ZN2v87Isolate21AddGCEpilogueCallbackEPFvPS0_NS_6GCTypeENS_15GCCallbackFlagsEPvES4_S2_", "-", "pppi"),
    "fatal_handler": ("_ZN2v87Isolate20SetFatalErrorHandlerEPFvPKcS2_E", "-", "pp"),
    "oom_handler": ("_ZN2v87Isolate18SetOOMErrorHandlerEPFvPKcRKNS_10OOMDetailsEE", "-", "pp"),
    "fatal_function": ("_ZN2v84base16SetFatalFunctionEPFvPKciS2_E", "-", "p"),
    "entropy_source": ("_ZN2v82V816SetEntropySourceEPFbPhmE", "-", "p"),
    "random_generator": ("_ZN2v88internal7Isolate23random_number_generatorEv", "p", "p"),
    "random_seed": ("_ZN2v84base21RandomNumberGenerator7SetSeedEl", "-", "pz"),
    "random_restart": ("_ZN2v88internal10MathRandom12ResetContextENS0_6TaggedINS0_7ContextEEE", "-", "p"),
    "stack_trace_handler": ("_ZN2v87Isolate28SetPrepareStackTraceCallbackEPFNS_10MaybeLocalINS_5ValueEEENS_5LocalINS_7ContextEEENS4_IS2_EENS4_INS_5ArrayEEEE", "-", "pp"),
    "rejection_handler": ("_ZN2v87Isolate24SetPromiseRejectCallbackEPFvNS_20PromiseRejectMessageEE", "-", "pp"),
    "allocator": ("_ZN2v87Isolate23GetArrayBufferAllocatorEv", "p", "p"),
    "embedder_data": ("_ZN2v87Isolate36GetContinuationPreservedEmbedderDataEv", "p", "p"),
    "use_optimizer": ("_ZN2v88internal7Isolate13use_optimizerEv", "b", "p"),
    "deoptimize_all": ("_ZN2v88internal11Deoptimizer13DeoptimizeAllEPNS0_7IsolateE", "-", "p"),
    # Handles
    "scope_next": ("_ZN2v88internal11HandleScope20current_next_addressEPNS0_7IsolateE", "p", "p"),
    "scope_level": ("_ZN2v88internal11HandleScope21current_level_addressEPNS0_7IsolateE", "p", "p"),
    "scope_limit": ("_ZN2v88internal11HandleScope21current_limit_addressEPNS0_7IsolateE", "p", "p"),
    "scope_delete": ("_ZN2v88internal11HandleScope16DeleteExtensionsEPNS0_7IsolateE", "-", "p"),
    "globalize": ("_ZN2v812api_internal18GlobalizeReferenceEPNS_8internal7IsolateEm", "p", "pz"),
    "dispose_global": ("_ZN2v812api_internal13DisposeGlobalEPm", "-", "p"),
    "catch_new": ("_ZN2v88TryCatchC1EPNS_7IsolateE", "-", "pp"),
    "catch_delete": ("_ZN2v88TryCatchD1Ev", "-", "p"),
    "catch_exception": ("_ZNK2v88TryCatch9ExceptionEv", "p", "p"),
    "catch_capture": ("_ZN2v88TryCatch17SetCaptureMessageEb", "-", "pb"),
    "catch_terminated": ("_ZNK2v88TryCatch13HasTerminatedEv", "b", "p"),
    "message_new": ("_ZN2v89Exception13CreateMessageEPNS_7IsolateENS_5LocalINS_5ValueEEE", "p", "pp"),
    "message_line": ("_ZNK2v87Message13GetLineNumberENS_5LocalINS_7ContextEEE", "z", "pp"),
    "message_column": ("_ZNK2v87Message14GetStartColumnEv", "i", "p"),
    "message_end_column": ("_ZNK2v87Message12GetEndColumnEv", "i", "p"),
    "message_start": ("_ZNK2v87Message16GetStartPositionEv", "i", "p"),
    "operator_delete": ("_ZdlPv", "-", "p"),
    # Contexts and scripts
    "context_new": ("_ZN2v87Context3NewEPNS_7IsolateEPNS_22ExtensionConfigurationENS_10MaybeLocalINS_14ObjectTemplateEEENS5_INS_5ValueEEENS_33DeserializeInternalFieldsCallbackEPNS_14MicrotaskQueueENS_30DeserializeContextDataCallbackENS_29DeserializeAPIWrapperCallbackE", "p", "ppppCpCC"),
    "context_enter": ("_ZN2v87Context5EnterEv", "-", "p"),
    "context_exit": ("_ZN2v87Context4ExitEv", "-", "p"),
    "context_global": ("_ZN2v87Context6GlobalEv", "p", "p"),
    "context_extras": ("_ZN2v87Context22GetExtrasBindingObjectEv", "p", "p"),
    "evaluate_global": ("_ZN2v85debug14EvaluateGlobalEPNS_7IsolateENS_5LocalINS_6StringEEENS0_18EvaluateGlobalModeEb", "p", "ppib"),
    "lexical_names": ("_ZN2v85debug23GlobalLexicalScopeNamesENS_5LocalINS_7ContextEEEPNSt4__Cr6vectorINS_6GlobalINS_6StringEEENS4_9allocatorIS8_EEEE", "-", "pp"),
    "compile": ("_ZN2v86Script7CompileENS_5LocalINS_7ContextEEENS1_INS_6StringEEEPNS_12ScriptOriginE", "p", "ppp"),
    "script_unbound": ("_ZN2v86Script16GetUnboundScriptEv", "p", "p"),
    "script_code": ("_ZN2v814ScriptCompiler15CreateCodeCacheENS_5LocalINS_13UnboundScriptEEE", "p", "p"),
    "script_run": ("_ZN2v86Script3RunENS_5LocalINS_7ContextEEE", "p", "pp"),
    "call": ("_ZN2v88Function4CallENS_5LocalINS_7ContextEEENS1_INS_5ValueEEEiPS5_", "p", "pppip"),
    "function_line": ("_ZNK2v88Function19GetScriptLineNumberEv", "i", "p"),
    "function_column": ("_ZNK2v88Function21GetScriptColumnNumberEv", "i", "p"),
    # Returned by value: the first argument is where, 40 bytes, the script's name first.
    "function_origin": ("_ZNK2v88Function15GetScriptOriginEv", "-", "pp"),
    "function_new": ("_ZN2v88Function3NewENS_5LocalINS_7ContextEEEPFvRKNS_20FunctionCallbackInfoINS_5ValueEEEENS1_INS_4DataEEEiNS_19ConstructorBehaviorENS_14SideEffectTypeE", "p", "pppiii"),
    "script_compile": ("_ZN2v814ScriptCompiler7CompileENS_5LocalINS_7ContextEEEPNS0_6SourceENS0_14CompileOptionsENS0_13NoCacheReasonE", "p", "ppii"),
    "message_script": ("_ZNK2v87Message21GetScriptResourceNameEv", "p", "p"),
    # Modules
    "module_compile": ("_ZN2v814ScriptCompiler13CompileModuleEPNS_7IsolateEPNS0_6SourceENS0_14CompileOptionsENS0_13NoCacheReasonE", "p", "ppii"),
    "module_unbound": ("_ZN2v86Module22GetUnboundModuleScriptEv", "p", "p"),
    "module_code": ("_ZN2v814ScriptCompiler15CreateCodeCacheENS_5LocalINS_19UnboundModuleScriptEEE", "p", "p"),
    "cached_data_new": ("_ZN2v814ScriptCompiler10CachedDataC1EPKhiNS1_12BufferPolicyE", "-", "ppii"),
    "cached_data_delete": ("_ZN2v814ScriptCompiler10CachedDataD1Ev", "-", "p"),
    "module_synthetic": ("_ZN2v86Module21CreateSyntheticModuleEPNS_7IsolateENS_5LocalINS_6StringEEERKNS_10MemorySpanIKS5_EEPFNS_10MaybeLocalINS_5ValueEEENS3_INS_7ContextEEENS3_IS0_EEE", "p", "pppp"),
    "module_set_export": ("_ZN2v86Module24SetSyntheticModuleExportEPNS_7IsolateENS_5LocalINS_6StringEEENS3_INS_5ValueEEE", "m", "pppp"),
    # The context; (context, index among the requests, referrer) to a module; null.
    "module_instantiate": ("_ZN2v86Module17InstantiateModuleENS_5LocalINS_7ContextEEEPFNS_10MaybeLocalIS0_EES3_mNS1_IS0_EEEPFNS4_INS_6ObjectEEES3_mS6_E", "m", "pppp"),
    "module_evaluate": ("_ZN2v86Module8EvaluateENS_5LocalINS_7ContextEEE", "p", "pp"),
    "module_namespace": ("_ZN2v86Module18GetModuleNamespaceEv", "p", "p"),
    "module_status": ("_ZNK2v86Module9GetStatusEv", "i", "p"),
    "module_hash": ("_ZNK2v86Module15GetIdentityHashEv", "i", "p"),
    "module_requests": ("_ZNK2v86Module17GetModuleRequestsEv", "p", "p"),
    "request_specifier": ("_ZNK2v813ModuleRequest12GetSpecifierEv", "p", "p"),
    "fixed_array_length": ("_ZNK2v810FixedArray6LengthEv", "i", "p"),
    "fixed_array_get": ("_ZNK2v810FixedArray3GetEi", "p", "pi"),
    "import_handler": ("_ZN2v87Isolate38SetHostImportModuleDynamicallyCallbackEPFNS_10MaybeLocalINS_7PromiseEEENS_5LocalINS_7ContextEEENS4_INS_4DataEEENS4_INS_5ValueEEENS4_INS_6StringEEENS4_INS_10FixedArrayEEEE", "-", "pp"),
    "import_meta_handler": ("_ZN2v87Isolate41SetHostInitializeImportMetaObjectCallbackEPFvNS_5LocalINS_7ContextEEENS1_INS_6ModuleEEENS1_INS_6ObjectEEEE", "-", "pp"),
    # Values
    "string_external_latin1": ("_ZN2v86String18NewExternalOneByteEPNS_7IsolateEPNS0_29ExternalOneByteStringResourceE", "p", "pp"),
    "string_external_utf16": ("_ZN2v86String18NewExternalTwoByteEPNS_7IsolateEPNS0_22ExternalStringResourceE", "p", "pp"),
    "string_new_latin1": ("_ZN2v86String14NewFromOneByteEPNS_7IsolateEPKhNS_13NewStringTypeEi", "p", "psii"),
    "string_new_utf8": ("_ZN2v86String11NewFromUtf8EPNS_7IsolateEPKcNS_13NewStringTypeEi", "p", "ppii"),
    "string_new_utf16": ("_ZN2v86String14NewFromTwoByteEPNS_7IsolateEPKtNS_13NewStringTypeEi", "p", "psii"),
    "string_length": ("_ZNK2v86String6LengthEv", "i", "p"),
    "string_is_latin1": ("_ZNK2v86String9IsOneByteEv", "b", "p"),
    "string_write_latin1": ("_ZNK2v86String14WriteOneByteV2EPNS_7IsolateEjjPhi", "-", "ppIIpi"),
    "string_write_utf16": ("_ZNK2v86String7WriteV2EPNS_7IsolateEjjPti", "-", "ppIIpi"),
    "number_new": ("_ZN2v86Number3NewEPNS_7IsolateEd", "p", "pd"),
    "bigint_words": ("_ZNK2v86BigInt12ToWordsArrayEPiS1_Pm", "-", "pppp"),
    "bigint_count": ("_ZNK2v86BigInt9WordCountEv", "i", "p"),
    "bigint_new": ("_ZN2v86BigInt12NewFromWordsENS_5LocalINS_7ContextEEEiiPKm", "p", "piip"),
    "array_new": ("_ZN2v85Array3NewEPNS_7IsolateEPNS_5LocalINS_5ValueEEEm", "p", "ppz"),
    "object_get": ("_ZN2v86Object3GetENS_5LocalINS_7ContextEEENS1_INS_5ValueEEE", "p", "ppp"),
    "object_set": ("_ZN2v86Object3SetENS_5LocalINS_7ContextEEENS1_INS_5ValueEEES5_", "m", "pppp"),
    # The object's context; KeyCollectionMode, PropertyFilter, IndexFilter, KeyConversionMode.
    "property_names": ("_ZN2v86Object16GetPropertyNamesENS_5LocalINS_7ContextEEENS_17KeyCollectionModeENS_14PropertyFilterENS_11IndexFilterENS_17KeyConversionModeE", "p", "ppiiii"),
    "constructor_name": ("_ZN2v86Object18GetConstructorNameEv", "p", "p"),
    "preview_entries": ("_ZN2v86Object14PreviewEntriesEPb", "p", "pp"),
    "proxy_target": ("_ZN2v85Proxy9GetTargetEv", "p", "p"),
    "proxy_handler": ("_ZN2v85Proxy10GetHandlerEv", "p", "p"),
    "promise_state": ("_ZN2v87Promise5StateEv", "i", "p"),
    "promise_result": ("_ZN2v87Promise6ResultEv", "p", "p"),
    "promise_has_handler": ("_ZNK2v87Promise10HasHandlerEv", "b", "p"),
    "promise_mark_handled": ("_ZN2v87Promise13MarkAsHandledEv", "-", "p"),
    "strict_equals": ("_ZNK2v85Value12StrictEqualsENS_5LocalIS0_EE", "b", "pp"),
    "number_value": ("_ZNK2v85Value11NumberValueENS_5LocalINS_7ContextEEE", "M", "pp"),
    "to_string": ("_ZNK2v85Value8ToStringENS_5LocalINS_7ContextEEE", "p", "pp"),
    "buffer_new": ("_ZN2v811ArrayBuffer3NewEPNS_7IsolateEmNS_30BackingStoreInitializationModeE", "p", "pzi"),
    "buffer_data": ("_ZNK2v811ArrayBuffer4DataEv", "p", "p"),
    "buffer_length": ("_ZNK2v811ArrayBuffer10ByteLengthEv", "z", "p"),
    "uint8array_new": ("_ZN2v810Uint8Array3NewENS_5LocalINS_11ArrayBufferEEEmm", "p", "pzz"),
    "view_contents": ("_ZN2v815ArrayBufferView11GetContentsENS_10MemorySpanIhEE", "S", "pS"),
    "view_length": ("_ZN2v815ArrayBufferView10ByteLengthEv", "z", "p"),
    # Errors
    "error_new": ("_ZN2v89Exception5ErrorENS_5LocalINS_6StringEEENS1_INS_5ValueEEE", "p", "pp"),
    "type_error_new": ("_ZN2v89Exception9TypeErrorENS_5LocalINS_6StringEEENS1_INS_5ValueEEE", "p", "pp"),
    "range_error_new": ("_ZN2v89Exception10RangeErrorENS_5LocalINS_6StringEEENS1_INS_5ValueEEE", "p", "pp"),
    # Structured clone
    "serializer_new": ("_ZN2v815ValueSerializerC1EPNS_7IsolateE", "-", "pp"),
    "serializer_delete": ("_ZN2v815ValueSerializerD1Ev", "-", "p"),
    "serializer_header": ("_ZN2v815ValueSerializer11WriteHeaderEv", "-", "p"),
    "serializer_write": ("_ZN2v815ValueSerializer10WriteValueENS_5LocalINS_7ContextEEENS1_INS_5ValueEEE", "m", "ppp"),
    "serializer_release": ("_ZN2v815ValueSerializer7ReleaseEv", "S", "p"),
    "deserializer_new": ("_ZN2v817ValueDeserializerC1EPNS_7IsolateEPKhm", "-", "pppz"),
    "deserializer_delete": ("_ZN2v817ValueDeserializerD1Ev", "-", "p"),
    "deserializer_header": ("_ZN2v817ValueDeserializer10ReadHeaderENS_5LocalINS_7ContextEEE", "m", "pp"),
    "deserializer_read": ("_ZN2v817ValueDeserializer9ReadValueENS_5LocalINS_7ContextEEE", "p", "pp"),
    # Snapshots
    "heap_profiler": ("_ZN2v87Isolate15GetHeapProfilerEv", "p", "p"),
    "query_objects": ("_ZN2v812HeapProfiler12QueryObjectsENS_5LocalINS_7ContextEEEPNS_20QueryObjectPredicateEPNSt4__Cr6vectorINS_6GlobalINS_6ObjectEEENS6_9allocatorISA_EEEE", "-", "pppp"),
    # The heap as a graph, for debuggers.
    "heap_snapshot": ("_ZN2v812HeapProfiler16TakeHeapSnapshotEPNS_15ActivityControlEPNS0_18ObjectNameResolverEbb", "p", "pppbb"),
    "object_id": ("_ZN2v812HeapProfiler11GetObjectIdENS_5LocalINS_5ValueEEE", "I", "pp"),
    "snapshot_node": ("_ZNK2v812HeapSnapshot11GetNodeByIdEj", "p", "pI"),
    "snapshot_root": ("_ZNK2v812HeapSnapshot7GetRootEv", "p", "p"),
    "node_children": ("_ZNK2v813HeapGraphNode16GetChildrenCountEv", "i", "p"),
    "node_child": ("_ZNK2v813HeapGraphNode8GetChildEi", "p", "pi"),
    "node_type": ("_ZNK2v813HeapGraphNode7GetTypeEv", "i", "p"),
    "node_name": ("_ZNK2v813HeapGraphNode7GetNameEv", "p", "p"),
    "edge_type": ("_ZNK2v813HeapGraphEdge7GetTypeEv", "i", "p"),
    "edge_name": ("_ZNK2v813HeapGraphEdge7GetNameEv", "p", "p"),
    "edge_to": ("_ZNK2v813HeapGraphEdge9GetToNodeEv", "p", "p"),
    "creator_new": ("_ZN2v815SnapshotCreatorC1EPKlPKNS_11StartupDataE", "-", "ppp"),
    "creator_delete": ("_ZN2v815SnapshotCreatorD1Ev", "-", "p"),
    "creator_isolate": ("_ZN2v815SnapshotCreator10GetIsolateEv", "p", "p"),
    # What a context owns beside its global object; the index is counted from 0.
    "creator_add_data": ("_ZN2v815SnapshotCreator7AddDataENS_5LocalINS_7ContextEEEm", "z", "ppz"),
    "context_take_data": ("_ZN2v87Context23GetDataFromSnapshotOnceEm", "p", "pz"),
    "creator_context": ("_ZN2v815SnapshotCreator17SetDefaultContextENS_5LocalINS_7ContextEEENS_31SerializeInternalFieldsCallbackENS_28SerializeContextDataCallbackENS_27SerializeAPIWrapperCallbackE", "-", "ppCCC"),
    "creator_blob": ("_ZN2v815SnapshotCreator10CreateBlobENS0_20FunctionCodeHandlingE", "D", "pi"),
    "version": ("mr_v8_version", "s", ""),
    "initialize": ("mr_init_v8", "-", "ss"),
    # V8's insides, for saving heaps. Methods of heap objects take the address of a
    # word that holds the object, as a handle is.
    "use_counter": ("_ZN2v87Isolate21SetUseCounterCallbackEPFvPS0_NS0_17UseCounterFeatureEE", "-", "pp"),
    "isolate_heap": ("_ZN2v88internal7Isolate4heapEv", "p", "p"),
    "dequeue_registry": ("_ZN2v88internal4Heap34DequeueDirtyJSFinalizationRegistryEv", "p", "p"),
    "has_dirty_registries": ("_ZN2v88internal4Heap32HasDirtyJSFinalizationRegistriesEv", "b", "p"),
    "registries_task_new": ("_ZN2v88internal31FinalizationRegistryCleanupTaskC1EPNS0_4HeapE", "-", "pp"),
    "registries_task_run": ("_ZN2v88internal31FinalizationRegistryCleanupTask11RunInternalEv", "-", "p"),
    "listener_add": ("_ZN2v87Isolate18AddMessageListenerEPFvNS_5LocalINS_7MessageEEENS1_INS_5ValueEEEES5_", "b", "ppp"),
    "listener_remove": ("_ZN2v87Isolate22RemoveMessageListenersEPFvNS_5LocalINS_7MessageEEENS1_INS_5ValueEEEE", "-", "pp"),
    "formatted_stack": ("_ZN2v88internal10ErrorUtils17GetFormattedStackEPNS0_7IsolateENS0_12DirectHandleINS0_8JSObjectEEE", "p", "pp"),
    "backing_store_new": ("_ZN2v88internal12BackingStoreC1EPvmmmNS0_10SharedFlagENS0_13ResizableFlagEbbbbb", "-", "ppzzziibbbbb"),
    # Isolate, length, longest, page size, pages at first and at most; kind, shared, guarded.
    "pages_store_new": ("_ZN2v88internal12BackingStore35TryAllocateAndPartiallyCommitMemoryEPNS0_7IsolateEmmmmmNS0_14WasmMemoryFlagENS0_10SharedFlagEb", "p", "pzzzzziib"),
    "store_delete": ("_ZN2v88internal12BackingStoreD1Ev", "-", "p"),
    "set_permissions": ("_ZN2v88internal14SetPermissionsEPNS_13PageAllocatorEPvmNS1_10PermissionE", "b", "ppzi"),
    # A std::shared_ptr is passed as it lies, two words (libc++'s trivial ABI).
    "buffer_take_store": ("_ZN2v88internal13JSArrayBuffer15RemoveExtensionEv", "S", "p"),
    "buffer_setup": ("_ZN2v88internal13JSArrayBuffer5SetupENS0_10SharedFlagENS0_13ResizableFlagENSt4__Cr10shared_ptrINS0_12BackingStoreEEEPNS0_7IsolateE", "-", "piiSp"),
    # An object's address, and the kind of slot that holds it.
    "heap_objects": ("_ZN2v88internal18HeapObjectIteratorC1EPNS0_4HeapENS1_20HeapObjectsFilteringE", "-", "ppi"),
    "collect_garbage": ("_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonENS_15GCCallbackFlagsENS0_21PerformHeapLimitCheckENS0_34PerformIneffectiveMarkCompactCheckE", "-", "piiiii"),
    "pages_release": ("_ZN2v88internal10MemoryPool18ReleaseImmediatelyEPNS0_7IsolateE", "-", "pp"),
    "can_be_deferred": ("_ZN2v88internal22SerializerDeserializer13CanBeDeferredENS0_6TaggedINS0_10HeapObjectEEENS1_8SlotTypeE", "b", "zi"),
    # For objects of Intl and Temporal, see `recreation`: an object and its hidden class,
    # an object, and {object, slot, value, WriteBarrierMode}.
    "size_from_map": ("_ZNK2v88internal10HeapObject11SizeFromMapENS0_6TaggedINS0_3MapEEE", "i", "pz"),
    "is_foreign": ("_ZN2v88internal19IsForeign_NonInlineENS0_6TaggedINS0_10HeapObjectEEE", "b", "z"),
    "write_barrier": ("_ZN2v88internal12WriteBarrier8ForValueINS0_6ObjectEEEvNS0_6TaggedINS0_10HeapObjectEEENS0_25CompressedMaybeObjectSlotENS4_IT_EENS0_16WriteBarrierModeE", "-", "zzzi"),
    "object_new": ("_ZN2v86Object3NewEPNS_7IsolateENS_5LocalINS_5ValueEEEPNS3_INS_4NameEEEPS5_m", "p", "ppppz"),
    "date_parts": ("_ZN2v88internal16JSDateTimeFormat13FormatToPartsEPNS0_7IsolateENS0_12DirectHandleIS1_EENS4_INS0_6ObjectEEEbPKc", "p", "pppbs"),
    "number_parts": ("_ZN2v88internal14JSNumberFormat13FormatToPartsEPNS0_7IsolateENS0_12DirectHandleIS1_EENS0_6HandleINS0_6ObjectEEE", "p", "ppp"),
    "locale_new": ("_ZN2v88internal8JSLocale3NewEPNS0_7IsolateENS0_12DirectHandleINS0_3MapEEENS4_INS0_6StringEEENS4_INS0_10JSReceiverEEE", "p", "pppp"),
    "locale_text": ("_ZN2v88internal8JSLocale8ToStringEPNS0_7IsolateENS0_12DirectHandleIS1_EE", "p", "pp"),
    "duration_with": ("_ZN2v88internal18JSTemporalDuration4WithEPNS0_7IsolateENS0_12DirectHandleIS1_EENS4_INS0_6ObjectEEE", "p", "ppp"),
    "is_array_buffer": ("_ZN2v88internal25IsJSArrayBuffer_NonInlineENS0_6TaggedINS0_10HeapObjectEEE", "b", "z"),
    "is_typed_array": ("_ZN2v88internal24IsJSTypedArray_NonInlineENS0_6TaggedINS0_10HeapObjectEEE", "b", "z"),
    # For WebAssembly, see `instances`, `wasm_parts`, `wasm_restoration`.
    "new_object": ("_ZN2v88internal7Factory11NewJSObjectENS0_12DirectHandleINS0_10JSFunctionEEENS0_14AllocationTypeENS0_15NewJSObjectTypeE", "p", "ppii"),
    "new_function": ("_ZN2v88internal7Factory17JSFunctionBuilder5BuildEv", "p", "p"),
    "new_buffer": ("_ZN2v88internal7Factory16NewJSArrayBufferENSt4__Cr10shared_ptrINS0_12BackingStoreEEENS0_14AllocationTypeE", "p", "pSi"),
    # Isolate, where errors go, module, imports, a buffer for asm.js.
    "wasm_instantiate": ("_ZN2v88internal4wasm27InstantiateToInstanceObjectEPNS0_7IsolateEPNS1_12ErrorThrowerENS0_12DirectHandleINS0_16WasmModuleObjectEEENS0_17MaybeDirectHandleINS0_10JSReceiverEEENS9_INS0_13JSArrayBufferEEE", "p", "ppppp"),
    "metrics_context": ("_ZN2v88internal7Isolate30GetOrRegisterRecorderContextIdENS0_12DirectHandleINS0_13NativeContextEEE", "z", "pp"),
    "wasm_imports": ("_ZN2v88internal4wasm10GetImportsEPNS0_7IsolateENS0_12DirectHandleINS0_16WasmModuleObjectEEE", "p", "pp"),
    "wasm_compile": ("_ZN2v816WasmModuleObject7CompileEPNS_7IsolateENS_10MemorySpanIKhEE", "p", "pS"),
    # Returned by value: the first argument is where, and 64 bytes are enough.
    "wasm_compiled": ("_ZN2v816WasmModuleObject17GetCompiledModuleEv", "-", "pp"),
    "wasm_bytes": ("_ZN2v818CompiledWasmModule15GetWireBytesRefEv", "S", "p"),
    # Isolate, table, index; to be filled: valid, null, the instance's data, the
    # function's index, a function of JavaScript's.
    "wasm_table_entry": ("_ZN2v88internal15WasmTableObject21GetFunctionTableEntryEPNS0_7IsolateENS0_12DirectHandleIS1_EEiPbS6_PNS0_17MaybeDirectHandleINS0_23WasmTrustedInstanceDataEEEPiPNS7_INS0_14WasmJSFunctionEEE", "-", "ppippppp"),
    "internal_properties": ("_ZN2v85debug21GetInternalPropertiesEPNS_7IsolateENS_5LocalINS_5ValueEEE", "p", "pp"),
    "function_name": ("_ZNK2v88Function7GetNameEv", "p", "p"),
    "is_wasm_function": ("_ZN2v88internal20WasmExportedFunction22IsWasmExportedFunctionENS0_6TaggedINS0_6ObjectEEE", "b", "z"),
}
# fmt: on

BRANDS: Final[tuple[tuple[str, str], ...]] = (
    # (brand, the predicate of v8::Value that recognises it), asked in this order
    ("Proxy", "IsProxy"),
    ("Array", "IsArray"),
    ("Promise", "IsPromise"),
    ("Error", "IsNativeError"),
    ("Map", "IsMap"),
    ("Set", "IsSet"),
    ("Date", "IsDate"),
    ("RegExp", "IsRegExp"),
    ("Uint8Array", "IsUint8Array"),
    ("Uint8ClampedArray", "IsUint8ClampedArray"),
    ("Int8Array", "IsInt8Array"),
    ("Uint16Array", "IsUint16Array"),
    ("Int16Array", "IsInt16Array"),
    ("Uint32Array", "IsUint32Array"),
    ("Int32Array", "IsInt32Array"),
    ("Float16Array", "IsFloat16Array"),
    ("Float32Array", "IsFloat32Array"),
    ("Float64Array", "IsFloat64Array"),
    ("BigInt64Array", "IsBigInt64Array"),
    ("BigUint64Array", "IsBigUint64Array"),
    ("DataView", "IsDataView"),
    ("ArrayBuffer", "IsArrayBuffer"),
    ("SharedArrayBuffer", "IsSharedArrayBuffer"),
    ("WeakMap", "IsWeakMap"),
    ("WeakSet", "IsWeakSet"),
    ("WeakRef", "IsWeakRef"),
    ("MapIterator", "IsMapIterator"),
    ("SetIterator", "IsSetIterator"),
    ("GeneratorObject", "IsGeneratorObject"),
    ("Arguments", "IsArgumentsObject"),
    ("NumberObject", "IsNumberObject"),
    ("StringObject", "IsStringObject"),
    ("BooleanObject", "IsBooleanObject"),
    ("SymbolObject", "IsSymbolObject"),
    ("BigIntObject", "IsBigIntObject"),
    ("ModuleNamespace", "IsModuleNamespaceObject"),
    ("External", "IsExternal"),
    ("WasmMemory", "IsWasmMemoryObject"),
    ("WasmModule", "IsWasmModuleObject"),
    ("AsyncFunction", "IsAsyncFunction"),
    ("GeneratorFunction", "IsGeneratorFunction"),
    ("Function", "IsFunction"),
    ("Object", "IsObject"),
)

KINDS: Final[tuple[str, ...]] = (
    # Further predicates of v8::Value that the conversion of values asks
    "FullIsString",
    "IsNumber",
    "IsBigInt",
    "IsArrayBufferView",
)


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
    "WebAssembly.Global": "WasmGlobalObject",
    "WebAssembly.Instance": "WasmInstanceObject",
    "WebAssembly.Memory": "WasmMemoryObject",
    "WebAssembly.Module": "WasmModuleObject",
    "WebAssembly.Suspending": "WasmSuspendingObject",
    "WebAssembly.Table": "WasmTableObject",
    "WebAssembly.Tag": "WasmTagObject",
}
"""What of V8's own classes can't be saved, or not be used when it has been."""


FORMATTERS: Final[tuple[str, ...]] = (
    # Kinds of the above that tell all options that another can be made of, and do
    # nothing that these don't say
    "Intl.Collator",
    "Intl.DisplayNames",
    "Intl.DurationFormat",
    "Intl.ListFormat",
    "Intl.PluralRules",
    "Intl.RelativeTimeFormat",
    "Intl.Segmenter",
)

TEMPORAL_WITHOUT_OPTIONS: Final = ("JSTemporalDuration", "JSTemporalInstant")
"""Classes whose `From` takes no options."""


def resolved_options(name: str) -> str:
    """Mangled name of `ResolvedOptions` of one of Intl's classes."""
    name = f"{len(name)}{name}"
    return (
        f"_ZN2v88internal{name}15ResolvedOptionsEPNS0_7IsolateENS0_12DirectHandleIS1_EE"
    )


def formatter_new(name: str) -> str:
    """Mangled name of `New` of one of Intl's classes; takes a hidden class."""
    name = f"{len(name)}{name}"
    return (
        f"_ZN2v88internal{name}3NewEPNS0_7IsolateENS0_12DirectHandleINS0_3MapEEE"
        "NS4_INS0_6ObjectEEES8_PKc"
    )


def temporal_text(name: str) -> str:
    """Mangled name of `ToString` of one of Temporal's classes; takes options."""
    name = f"{len(name)}{name}"
    return (
        f"_ZN2v88internal{name}8ToStringEPNS0_7IsolateENS0_12DirectHandleIS1_EE"
        "NS4_INS0_6ObjectEEE"
    )


def temporal_from(name: str) -> str:
    """Mangled name of `From` of one of Temporal's classes."""
    options = "" if name in TEMPORAL_WITHOUT_OPTIONS else "S6_"
    name = f"{len(name)}{name}"
    return (
        f"_ZN2v88internal{name}4FromEPNS0_7IsolateENS0_12DirectHandleINS0_6ObjectEEE"
        f"{options}"
    )


def predicate(name: str) -> str:
    """Mangled name of a predicate such as `IsMap` of v8::Value."""
    return f"_ZNK2v85Value{len(name)}{name}Ev"


def heap_predicate(name: str) -> str:
    """Mangled name of the predicate of an internal class; takes the object itself."""
    name = f"Is{name}_NonInline"
    return f"_ZN2v88internal{len(name)}{name}ENS0_6TaggedINS0_10HeapObjectEEE"


# fmt: off
LATIN1_TEXT: Final = "_ZTVN2v88internal20SimpleStringResourceIcNS_6String29ExternalOneByteStringResourceEEE"
WIDE_TEXT: Final = "_ZTVN2v88internal20SimpleStringResourceItNS_6String22ExternalStringResourceEEE"
"""Tables of the virtual methods of strings whose text isn't on a heap; see `texts`."""
# fmt: on

WASM_FUNCTIONS: Final[tuple[str, ...]] = tuple(
    # The native functions of the WebAssembly namespace, which V8 exports by name.
    # A snapshot refers to them, so they stand in the list of external references.
    f"_ZN2v88internal4wasm{len(name)}{name}ERKNS_20FunctionCallbackInfoINS_5ValueEEE"
    for name in (
        "WebAssemblyTag",
        "WebAssemblyTable",
        "WebAssemblyGlobal",
        "WebAssemblyMemory",
        "WebAssemblyModule",
        "WebAssemblyCompile",
        "WebAssemblyInstance",
        "WebAssemblyTableGet",
        "WebAssemblyTableSet",
        "WebAssemblyValidate",
        "WebAssemblyException",
        "WebAssemblyTableGrow",
        "WebAssemblyMemoryGrow",
        "WebAssemblyExceptionIs",
        "WebAssemblyInstantiate",
        "WebAssemblyGlobalValueOf",
        "WebAssemblyModuleExports",
        "WebAssemblyModuleImports",
        "WebAssemblyGlobalGetValue",
        "WebAssemblyGlobalSetValue",
        "WebAssemblyTableGetLength",
        "WebAssemblyExceptionGetArg",
        "WebAssemblyMemoryGetBuffer",
        "WebAssemblyInstanceGetExports",
        "WebAssemblyModuleCustomSections",
        "WebAssemblyMemoryToResizableBuffer",
        "WebAssemblyMemoryToFixedLengthBuffer",
    )
)
