import { ActionIcon, Menu, useMantineColorScheme } from "@mantine/core";
import { CircleUserRound, Contrast, KeyRound, LogOut, Monitor, Moon, Sun } from "lucide-react";
import { Link, useNavigate } from "react-router";
import { signOut, useMe } from "../api/account";

export function AccountMenu({ projectId }: { projectId?: string }) {
  const me = useMe();
  const navigate = useNavigate();
  const { setColorScheme } = useMantineColorScheme();
  return (
    <>
      <Menu position="bottom-end">
        <Menu.Target>
          <ActionIcon size="lg" aria-label="Light or dark">
            <Contrast size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<Sun size={15} />} onClick={() => setColorScheme("light")}>
            Light
          </Menu.Item>
          <Menu.Item leftSection={<Moon size={15} />} onClick={() => setColorScheme("dark")}>
            Dark
          </Menu.Item>
          <Menu.Item leftSection={<Monitor size={15} />} onClick={() => setColorScheme("auto")}>
            As the system
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <Menu position="bottom-end">
        <Menu.Target>
          <ActionIcon size="lg" aria-label="Account">
            <CircleUserRound size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>{me.data?.email ?? "…"}</Menu.Label>
          {projectId && (
            <Menu.Item
              component={Link}
              to={`/project/${projectId}/account`}
              leftSection={<KeyRound size={15} />}
            >
              Account and password
            </Menu.Item>
          )}
          <Menu.Item
            leftSection={<LogOut size={15} />}
            onClick={() => {
              navigate("/");
              signOut();
            }}
          >
            Sign out
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
