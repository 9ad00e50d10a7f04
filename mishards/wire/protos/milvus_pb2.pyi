from mishards.wire.protos import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyValuePair(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class CollectionName(_message.Message):
    __slots__ = ("collection_name",)
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    def __init__(self, collection_name: _Optional[str] = ...) -> None: ...

class CollectionNameList(_message.Message):
    __slots__ = ("status", "collection_names")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_NAMES_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    collection_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., collection_names: _Optional[_Iterable[str]] = ...) -> None: ...

class CollectionSchema(_message.Message):
    __slots__ = ("status", "collection_name", "dimension", "index_file_size", "metric_type", "extra_params")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    METRIC_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_PARAMS_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    collection_name: str
    dimension: int
    index_file_size: int
    metric_type: int
    extra_params: _containers.RepeatedCompositeFieldContainer[KeyValuePair]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., collection_name: _Optional[str] = ..., dimension: _Optional[int] = ..., index_file_size: _Optional[int] = ..., metric_type: _Optional[int] = ..., extra_params: _Optional[_Iterable[_Union[KeyValuePair, _Mapping]]] = ...) -> None: ...

class CollectionRowCount(_message.Message):
    __slots__ = ("status", "collection_row_count")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    collection_row_count: int
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., collection_row_count: _Optional[int] = ...) -> None: ...

class CollectionInfo(_message.Message):
    __slots__ = ("status", "json_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    JSON_INFO_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    json_info: str
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., json_info: _Optional[str] = ...) -> None: ...

class PartitionParam(_message.Message):
    __slots__ = ("collection_name", "tag")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    tag: str
    def __init__(self, collection_name: _Optional[str] = ..., tag: _Optional[str] = ...) -> None: ...

class PartitionList(_message.Message):
    __slots__ = ("status", "partition_tag_array")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_ARRAY_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    partition_tag_array: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., partition_tag_array: _Optional[_Iterable[str]] = ...) -> None: ...

class RowRecord(_message.Message):
    __slots__ = ("float_data", "binary_data")
    FLOAT_DATA_FIELD_NUMBER: _ClassVar[int]
    BINARY_DATA_FIELD_NUMBER: _ClassVar[int]
    float_data: _containers.RepeatedScalarFieldContainer[float]
    binary_data: bytes
    def __init__(self, float_data: _Optional[_Iterable[float]] = ..., binary_data: _Optional[bytes] = ...) -> None: ...

class InsertParam(_message.Message):
    __slots__ = ("collection_name", "row_record_array", "row_id_array", "partition_tag", "extra_params")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    ROW_RECORD_ARRAY_FIELD_NUMBER: _ClassVar[int]
    ROW_ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_FIELD_NUMBER: _ClassVar[int]
    EXTRA_PARAMS_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    row_record_array: _containers.RepeatedCompositeFieldContainer[RowRecord]
    row_id_array: _containers.RepeatedScalarFieldContainer[int]
    partition_tag: str
    extra_params: _containers.RepeatedCompositeFieldContainer[KeyValuePair]
    def __init__(self, collection_name: _Optional[str] = ..., row_record_array: _Optional[_Iterable[_Union[RowRecord, _Mapping]]] = ..., row_id_array: _Optional[_Iterable[int]] = ..., partition_tag: _Optional[str] = ..., extra_params: _Optional[_Iterable[_Union[KeyValuePair, _Mapping]]] = ...) -> None: ...

class VectorIds(_message.Message):
    __slots__ = ("status", "vector_id_array")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    vector_id_array: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., vector_id_array: _Optional[_Iterable[int]] = ...) -> None: ...

class SearchParam(_message.Message):
    __slots__ = ("collection_name", "partition_tag_array", "query_record_array", "topk", "extra_params")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_ARRAY_FIELD_NUMBER: _ClassVar[int]
    QUERY_RECORD_ARRAY_FIELD_NUMBER: _ClassVar[int]
    TOPK_FIELD_NUMBER: _ClassVar[int]
    EXTRA_PARAMS_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    partition_tag_array: _containers.RepeatedScalarFieldContainer[str]
    query_record_array: _containers.RepeatedCompositeFieldContainer[RowRecord]
    topk: int
    extra_params: _containers.RepeatedCompositeFieldContainer[KeyValuePair]
    def __init__(self, collection_name: _Optional[str] = ..., partition_tag_array: _Optional[_Iterable[str]] = ..., query_record_array: _Optional[_Iterable[_Union[RowRecord, _Mapping]]] = ..., topk: _Optional[int] = ..., extra_params: _Optional[_Iterable[_Union[KeyValuePair, _Mapping]]] = ...) -> None: ...

class SearchInFilesParam(_message.Message):
    __slots__ = ("file_id_array", "search_param")
    FILE_ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    SEARCH_PARAM_FIELD_NUMBER: _ClassVar[int]
    file_id_array: _containers.RepeatedScalarFieldContainer[str]
    search_param: SearchParam
    def __init__(self, file_id_array: _Optional[_Iterable[str]] = ..., search_param: _Optional[_Union[SearchParam, _Mapping]] = ...) -> None: ...

class SearchByIDParam(_message.Message):
    __slots__ = ("collection_name", "partition_tag_array", "id_array", "topk", "extra_params")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_ARRAY_FIELD_NUMBER: _ClassVar[int]
    ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    TOPK_FIELD_NUMBER: _ClassVar[int]
    EXTRA_PARAMS_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    partition_tag_array: _containers.RepeatedScalarFieldContainer[str]
    id_array: _containers.RepeatedScalarFieldContainer[int]
    topk: int
    extra_params: _containers.RepeatedCompositeFieldContainer[KeyValuePair]
    def __init__(self, collection_name: _Optional[str] = ..., partition_tag_array: _Optional[_Iterable[str]] = ..., id_array: _Optional[_Iterable[int]] = ..., topk: _Optional[int] = ..., extra_params: _Optional[_Iterable[_Union[KeyValuePair, _Mapping]]] = ...) -> None: ...

class TopKQueryResult(_message.Message):
    __slots__ = ("status", "row_num", "ids", "distances")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ROW_NUM_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    row_num: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    distances: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., row_num: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., distances: _Optional[_Iterable[float]] = ...) -> None: ...

class StringReply(_message.Message):
    __slots__ = ("status", "string_reply")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STRING_REPLY_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    string_reply: str
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., string_reply: _Optional[str] = ...) -> None: ...

class BoolReply(_message.Message):
    __slots__ = ("status", "bool_reply")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BOOL_REPLY_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    bool_reply: bool
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., bool_reply: bool = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("cmd",)
    CMD_FIELD_NUMBER: _ClassVar[int]
    cmd: str
    def __init__(self, cmd: _Optional[str] = ...) -> None: ...

class IndexParam(_message.Message):
    __slots__ = ("status", "collection_name", "index_type", "extra_params")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_PARAMS_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    collection_name: str
    index_type: int
    extra_params: _containers.RepeatedCompositeFieldContainer[KeyValuePair]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., collection_name: _Optional[str] = ..., index_type: _Optional[int] = ..., extra_params: _Optional[_Iterable[_Union[KeyValuePair, _Mapping]]] = ...) -> None: ...

class FlushParam(_message.Message):
    __slots__ = ("collection_name_array",)
    COLLECTION_NAME_ARRAY_FIELD_NUMBER: _ClassVar[int]
    collection_name_array: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection_name_array: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteByIDParam(_message.Message):
    __slots__ = ("collection_name", "id_array", "partition_tag")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    id_array: _containers.RepeatedScalarFieldContainer[int]
    partition_tag: str
    def __init__(self, collection_name: _Optional[str] = ..., id_array: _Optional[_Iterable[int]] = ..., partition_tag: _Optional[str] = ...) -> None: ...

class PreloadCollectionParam(_message.Message):
    __slots__ = ("collection_name", "partition_tag_array")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_ARRAY_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    partition_tag_array: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection_name: _Optional[str] = ..., partition_tag_array: _Optional[_Iterable[str]] = ...) -> None: ...

class ReLoadSegmentsParam(_message.Message):
    __slots__ = ("collection_name", "segment_id_array")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    segment_id_array: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection_name: _Optional[str] = ..., segment_id_array: _Optional[_Iterable[str]] = ...) -> None: ...

class VectorsIdentity(_message.Message):
    __slots__ = ("collection_name", "id_array", "partition_tag")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    ID_ARRAY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_TAG_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    id_array: _containers.RepeatedScalarFieldContainer[int]
    partition_tag: str
    def __init__(self, collection_name: _Optional[str] = ..., id_array: _Optional[_Iterable[int]] = ..., partition_tag: _Optional[str] = ...) -> None: ...

class VectorsData(_message.Message):
    __slots__ = ("status", "vectors_data")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_DATA_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    vectors_data: _containers.RepeatedCompositeFieldContainer[RowRecord]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., vectors_data: _Optional[_Iterable[_Union[RowRecord, _Mapping]]] = ...) -> None: ...

class GetVectorIDsParam(_message.Message):
    __slots__ = ("collection_name", "segment_name")
    COLLECTION_NAME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_NAME_FIELD_NUMBER: _ClassVar[int]
    collection_name: str
    segment_name: str
    def __init__(self, collection_name: _Optional[str] = ..., segment_name: _Optional[str] = ...) -> None: ...
