"""Who works on a project."""

import httpx

from postroom.resources import Resources
from tests.api.test_envelope import assert_failure
from tests.factories import make_account, make_member, make_project


async def test_an_invited_person_sees_the_project_with_their_role(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    bob = await make_account(resources)
    members = f"{project.path}/members"
    made = await client.post(
        members, json={"email": bob.email.upper(), "role": "admin"}, headers=project.owner.bearer
    )
    assert made.status_code == 201
    assert made.json()["data"]["userId"] == str(bob.id)
    seen = await client.get(project.path, headers=bob.bearer)
    assert seen.json()["data"]["role"] == "admin"
    listed = await client.get(members, headers=bob.bearer)
    assert [(m["email"], m["role"]) for m in listed.json()["data"]] == [
        (project.owner.email, "owner"),
        (bob.email, "admin"),
    ]


async def test_only_people_with_an_account_are_invited_and_only_once(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    members, headers = f"{project.path}/members", project.owner.bearer
    unknown = await client.post(members, json={"email": "no@one.test"}, headers=headers)
    assert_failure(unknown, 404, "account_not_found")
    again = await client.post(members, json={"email": project.owner.email}, headers=headers)
    assert_failure(again, 409, "already_member")
    odd = await client.post(members, json={"email": "a@b.cd", "role": "king"}, headers=headers)
    assert_failure(odd, 400, "invalid_payload")


async def test_only_owners_change_who_is_a_member(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    admin = await make_member(resources, project, "admin")
    path = f"{project.path}/members/{admin.id}"
    promoted = await client.patch(path, json={"role": "owner"}, headers=admin.bearer)
    assert_failure(promoted, 403, "owner_required")
    assert_failure(await client.delete(path, headers=admin.bearer), 403, "owner_required")


async def test_a_member_who_is_removed_no_longer_sees_the_project(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    viewer = await make_member(resources, project, "viewer")
    path = f"{project.path}/members/{viewer.id}"
    assert (await client.delete(path, headers=project.owner.bearer)).status_code == 200
    assert_failure(await client.get(project.path, headers=viewer.bearer), 404, "project_not_found")
    gone = await client.delete(path, headers=project.owner.bearer)
    assert_failure(gone, 404, "member_not_found")


async def test_the_last_owner_stays(client: httpx.AsyncClient, resources: Resources) -> None:
    project = await make_project(resources)
    headers = project.owner.bearer
    own = f"{project.path}/members/{project.owner.id}"
    assert_failure(await client.delete(own, headers=headers), 409, "last_owner")
    demoted = await client.patch(own, json={"role": "viewer"}, headers=headers)
    assert_failure(demoted, 409, "last_owner")
    admin = await make_member(resources, project, "admin")
    path = f"{project.path}/members/{admin.id}"
    promoted = await client.patch(path, json={"role": "owner"}, headers=headers)
    assert promoted.json()["data"]["role"] == "owner"
    assert (await client.delete(own, headers=headers)).status_code == 200


async def test_a_malformed_member_id_is_nobody(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await client.delete(f"{project.path}/members/nonsense", headers=project.owner.bearer)
    assert_failure(answer, 404, "member_not_found")
