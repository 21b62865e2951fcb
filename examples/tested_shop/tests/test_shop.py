from datetime import timedelta

import shop


def test_a_task_is_a_function():
    assert shop.charge("Ada", 1250) == "Ada has paid 12.50"


def test_an_order_sends_two_tasks(drivetrain_app, drivetrain_sent):
    shop.order("Ada", 1250)
    assert [one.task for one in drivetrain_sent] == ["shop.charge", "shop.remind"]  # the mail follows later
    assert drivetrain_sent.one(shop.charge).arguments == {"customer": "Ada", "cents": 1250}


def test_a_reminder_is_due_after_a_month(virtual_time, drivetrain_sent, outbox):
    shop.order("Ada", 1250)
    assert drivetrain_sent.one(shop.remind).eta == virtual_time.now() + timedelta(days=30)
    virtual_time.run_ready()
    assert outbox.mails == [("Ada", "Ada has paid 12.50")]
    virtual_time.run_for(days=30)
    assert outbox.mails[1:] == [("Ada", "come back")]


def test_a_mail_goes_to_its_queue(virtual_time, drivetrain_sent, outbox):
    shop.order("Ada", 1250)
    virtual_time.run_ready()
    mail = drivetrain_sent.one(shop.send_mail)
    assert (mail.queue, mail.arguments) == ("mails", {"text": "Ada has paid 12.50", "customer": "Ada"})


def test_a_mail_is_tried_again_after_a_minute(virtual_time, outbox):
    outbox.is_away = True
    shop.send_mail.send("hello", "Ada")
    virtual_time.run_ready()
    assert outbox.mails == []
    outbox.is_away = False
    virtual_time.run_for(seconds=60)
    assert outbox.mails == [("Ada", "hello")]


def test_a_real_worker_runs_it_too(drivetrain_worker):
    assert shop.charge.send("Ada", 1250).get(timeout=30) == "Ada has paid 12.50"
