"""Routes about documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from lift_core.api.answers import answer, next_link
from lift_core.api.conditions import remember_known_etags
from lift_core.api.parameters import DocumentName, Page, Registry, Text
from lift_core.api.problems import responses
from lift_core.records import DocumentPage, DocumentStory

reading = APIRouter(tags=["documents"], dependencies=[Depends(remember_known_etags)], responses={304: {}})


@reading.get("/documents", response_model=DocumentPage, responses=responses(400))
def list_documents(request: Request, registry: Registry, query: Annotated[Page, Query()]) -> Response:
    """List documents with their state, newest first."""
    page = registry.document_page(query.limit, query.cursor)
    return answer(request, page, headers=next_link(request, "list_documents", page.next_cursor))


@reading.get("/documents/{name:path}", response_model=DocumentStory, responses=responses(404))
def show_document(
    request: Request,
    registry: Registry,
    name: DocumentName,
    bucket: Annotated[Text | None, Query(description="Where several buckets hold the key")] = None,
) -> Response:
    """Show a document: its state, what it waits for, its run stage by stage, its history and its jobs."""
    return answer(request, registry.story(name, bucket, request.app.state.airflow_url))
