module a11i.test/client

go 1.21
